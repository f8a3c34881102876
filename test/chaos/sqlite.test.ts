import { describe, expect, it } from 'vitest';
import { saw, seed, times } from '../support/promise.ts';
import { broken, check } from './checker.ts';
import { crashRun, summary } from './driver.ts';
import { sqlite } from './queues.ts';

const log = (text: string): void => void process.stderr.write(`  ${text}\n`);
const strikesOf = (rounds: number): ('gateway' | 'failpoint')[] =>
  Array.from({ length: rounds }, (_, round) => (round % 2 === 0 ? 'gateway' : 'failpoint'));

describe('a gateway that is killed while it works', () => {
  it(
    'loses nothing, ends everything once and in order, and repeats no more than was in flight (P2) (P3) (P4) (P5) (P6) (P25)',
    { timeout: times(600_000, 7_200_000) },
    async ({ task }) => {
      const run = await crashRun({
        seed,
        queue: sqlite,
        gateways: 1,
        strikes: strikesOf(times(24, 300)),
        calls: times(12_000, 200_000),
        paceMs: 0,
        log,
      });
      log(`sqlite, seed ${seed}: ${summary(run)}`);
      saw(task, { seed, result: `sqlite: ${summary(run)}` });
      expect(run.history.accepted.length).toBeGreaterThanOrEqual(10_000);
      expect(broken(check(run.history)), `seed ${seed}`).toEqual([]);
    },
  );

  it('is caught when it answers before it has committed', { timeout: 300_000 }, async () => {
    const { history } = await crashRun({
      seed,
      queue: sqlite,
      gateways: 1,
      strikes: strikesOf(6),
      calls: 3000,
      paceMs: 0,
      failpoints: ['queue.before-commit'],
      plant: 'ack-before-commit',
    });
    expect(check(history).lost.length).toBeGreaterThan(0);
  });
});
