import { expect, it } from 'vitest';
import { saw, seed, times } from '../support/promise.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { broken, check } from './checker.ts';
import { crashRun, summary } from './driver.ts';
import type { CrashQueue } from './queues.ts';
import type { Strike } from './strikes.ts';
import { stalled, takeover } from './takeover.ts';

/** Kills of a gateway, and as many of the broker. */
const rounds = Number(process.env['MILLRACE_CHAOS_ROUNDS'] ?? times(10, 100));
const stalls = Number(process.env['MILLRACE_CHAOS_STALLS'] ?? times(1, 5));
/** Gateways that are stopped past their lease, one after the other. */
const stale = times(1, 50);
const gateways = Number(process.env['MILLRACE_CHAOS_GATEWAYS'] ?? 2);
/** Longer than a lease lasts, and than any client waits for an answer. */
const stallMs = 18_000;
const log = (text: string): void => void process.stderr.write(`  ${text}\n`);

function strikes(): Strike[] {
  const all: Strike[] = [];
  for (let round = 0; round < rounds; round++) {
    all.push(round % 3 === 0 ? 'gateway' : 'failpoint');
    all.push(round % 5 === 3 ? 'both' : 'broker');
    if (round % 5 === 1) all.push('restart');
    if (round < stalls) all.push('stall');
  }
  return all;
}

/** What every queue on a broker is held to, with the broker of its own struck as its gateways are. */
export async function crashSuite(queue: CrashQueue): Promise<void> {
  const { kind, broker } = queue;
  if (!broker) throw new Error(`the queue ${kind} has no broker`);
  const patient: CrashQueue = { ...queue, yaml: queue.patient ?? queue.yaml };
  await describeWithOwnBroker(broker, `${kind}: gateways and a broker that are killed while they work`, () => {
    it(
      'loses nothing, ends everything once and in order, and works again by itself (P2) (P3) (P4) (P5) (P6) (P9) (P25)',
      { timeout: times(900_000, 7_200_000) },
      async ({ task }) => {
        const all = strikes();
        const run = await crashRun({
          seed,
          queue,
          gateways,
          strikes: all,
          calls: 40 * all.length,
          paceMs: 150,
          stallMs,
          log,
        });
        log(`${kind}, seed ${seed}: ${summary(run)}`);
        saw(task, { seed, result: `${kind}: ${summary(run)}` });
        expect(broken(check(run.history)), `seed ${seed}`).toEqual([]);
      },
    );

    it('is caught when it answers before it has committed', { timeout: 300_000 }, async () => {
      const { history } = await crashRun({
        seed,
        queue,
        gateways: 1,
        strikes: ['failpoint', 'failpoint', 'failpoint', 'failpoint'],
        calls: 200,
        paceMs: 150,
        failpoints: ['queue.before-commit'],
        plant: 'ack-before-commit',
      });
      expect(check(history).lost.length).toBeGreaterThan(0);
    });

    it.concurrent(
      'hands over what a killed gateway had leased within 20 s (P27)',
      { timeout: 180_000 },
      async ({ task }) => {
        const ms = await takeover(queue);
        log(`${kind}: taken over after ${(ms / 1000).toFixed(1)} s`);
        saw(task, { result: `${kind}: taken over after ${(ms / 1000).toFixed(1)} s` });
        expect(ms).toBeLessThan(20_000);
      },
    );

    it.concurrent(
      'changes nothing by the word of a gateway that was stopped past its lease (P11)',
      { timeout: stale * 180_000 },
      async ({ task }) => {
        for (let round = 0; round < stale; round++) {
          const aftermath = await stalled(patient);
          expect(aftermath).toEqual({ heard: true, state: 'running', attempt: 2, result: 'attempt 2' });
        }
        saw(task, { result: `${kind}: ${stale} stalled past their lease, ${stale} late words, 0 effects` });
      },
    );

    it.concurrent('is caught when it does not check the epoch of such a word', { timeout: 180_000 }, async () => {
      expect(await stalled(patient, 'skip-epoch-check')).toMatchObject({ state: 'succeeded', result: 'attempt 1' });
    });
  });
}
