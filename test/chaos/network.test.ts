import { describe, expect, it } from 'vitest';
import { isLong, saw, seed, times } from '../support/promise.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { broken, check } from './checker.ts';
import { brokenMessages } from './connector-checker.ts';
import { messageRun, messageSummary } from './connector-driver.ts';
import { crashConnectors } from './connectors.ts';
import { crashRun, summary } from './driver.ts';
import { brokenUpstream, upstreamRun, upstreamSummary } from './upstream.ts';
import { amqp, jetstream, kafka, redis } from './queues.ts';

const log = (text: string): void => void process.stderr.write(`  ${text}\n`);
/** How often the network fails, and for how long at most: longer than any client waits for an answer, if there is time. */
const rounds = times(5, 30);
const disturbedMs = times(1000, 15_000);
/** A broker that starts at once, and one that does not, next to each other; and for CI the connectors whose brokers do. */
const queues = [redis, amqp, jetstream, kafka];
const { redis: redisStream, jetstream: jetstreamStream, ...others } = crashConnectors;
const connectors = [redisStream, jetstreamStream, ...(isLong ? Object.values(others) : [])];

/** So many of them, from one that the seed chooses; all of them in a long run. */
function chosen<T>(all: readonly T[], few: number): readonly T[] {
  return Array.from({ length: times(few, all.length) }, (_, index) => all[(seed + index) % all.length] as T);
}

const network = Array.from({ length: rounds }, () => 'network' as const);

for (const queue of chosen(queues, 2)) {
  const { kind, broker = 'redis' } = queue;
  await describeWithOwnBroker(broker, `${kind}: a network that fails between gateways and their queue`, () => {
    it(
      'loses nothing, ends everything once and in order, and answers every caller (P10)',
      { timeout: times(300_000, 3_600_000) },
      async ({ task }) => {
        const calls = 40 * rounds;
        const run = await crashRun({
          seed,
          queue,
          gateways: 2,
          strikes: network,
          calls,
          paceMs: 150,
          disturbedMs,
          log,
        });
        saw(task, { seed, result: `${kind}: ${summary(run)}` });
        expect(broken(check(run.history)), `seed ${seed}`).toEqual([]);
      },
    );
  });
}

await describeWithOwnBroker('redis', 'a queue that answers before it has committed', () => {
  // Each word that is lost is waited for.
  it.runIf(isLong)('is caught when the network fails', { timeout: 900_000 }, async () => {
    const strikes = network.slice(0, 7);
    const run = await crashRun({
      seed,
      queue: redis,
      gateways: 1,
      strikes,
      calls: 100,
      paceMs: 150,
      plant: 'ack-before-commit',
    });
    expect(check(run.history).lost).not.toEqual([]);
  });
});

for (const connector of chosen(connectors, 1)) {
  const { kind, broker } = connector;
  await describeWithOwnBroker(
    broker,
    `connector ${kind}: a network that fails between gateways and their source`,
    () => {
      it(
        'loses nothing that the broker confirmed, and takes messages again by itself (P10)',
        { timeout: times(300_000, 3_600_000) },
        async ({ task }) => {
          const history = await messageRun({
            seed,
            connector,
            gateways: 2,
            strikes: network,
            paceMs: 80,
            disturbedMs,
            log,
          });
          saw(task, { seed, result: `connector ${kind}: ${messageSummary(history)}` });
          expect(brokenMessages(history), `seed ${seed}`).toEqual([]);
        },
      );
    },
  );
}

describe('a network that fails between a gateway and functions behind a URL', () => {
  it(
    'ends each sync call in time, with its own answer or none, repeats none, and loses nothing of the queue (P10)',
    { timeout: times(180_000, 3_600_000) },
    async ({ task }) => {
      const run = await upstreamRun({ seed, rounds: times(7, 50), disturbedMs: times(1000, 8000), log });
      saw(task, { seed, result: upstreamSummary(run) });
      expect(brokenUpstream(run), `seed ${seed}`).toEqual([]);
    },
  );

  it('is caught when a call that was sent is sent again', { timeout: 180_000 }, async () => {
    const { repeated } = await upstreamRun({ seed, rounds: 7, disturbedMs: 500, plant: 'repeat-sent-call' });
    expect(repeated).not.toEqual([]);
  });
});
