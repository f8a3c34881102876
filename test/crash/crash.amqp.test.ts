import { expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import { startSettled } from '../contract/amqp-bench.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { broken, check } from './checker.ts';
import { crashRun } from './driver.ts';

const failpoints = [
  'accept.after-enqueue',
  'queue.before-commit',
  'queue.after-commit',
  'lease.before-dispatch',
  'execute.running',
  'settle.before',
  'settle.after',
  'queue.dead-letter',
];
const seed = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000);
const log = (text: string): void => void process.stderr.write(`  ${text}\n`);

/** Its successor takes over at once what it had leased, so that the run need not wait for it to be taken for dead. */
const queuesOn = (url: string): string => `
connections:
  main: { kind: amqp, url: "${url}" }
queues:
  default: { kind: amqp, instance: gateway }`;

await describeWithOwnBroker('amqp', 'a gateway on RabbitMQ that is killed while it works', () => {
  it(
    'loses nothing, ends everything once and in order, and repeats no more than was in flight',
    { timeout: 600_000 },
    async () => {
      await using broker = await startSettled();
      const history = await crashRun({
        seed,
        rounds: 16,
        calls: 6000,
        failpoints,
        queues: queuesOn(broker.url),
        // In some of the rounds the broker is killed as well.
        meanwhile: async (round) => {
          if (round % 4 !== 2) return;
          await sleep(300);
          await broker.kill();
          await broker.restart();
        },
        log,
      });
      const verdict = check(history);
      log(
        `seed ${seed}: ${history.accepted.length} accepted, ${history.kills} kills, ${verdict.duplicates} duplicates`,
      );
      expect(broken(verdict), `seed ${seed}`).toEqual([]);
      expect(history.accepted.length).toBeGreaterThanOrEqual(4000);
    },
  );

  it('is caught when it answers before it has committed', { timeout: 300_000 }, async () => {
    await using broker = await startSettled();
    const history = await crashRun({
      seed,
      rounds: 6,
      calls: 3000,
      failpoints: ['queue.before-commit'],
      plant: 'ack-before-commit',
      queues: queuesOn(broker.url),
    });
    expect(check(history).lost.length).toBeGreaterThan(0);
  });
});
