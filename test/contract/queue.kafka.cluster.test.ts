import { afterAll, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import { createId } from '../../core/delivery/ids.ts';
import { expectConserved, unaborted } from '../../core/testing/queue-trial.ts';
import type { Kafka } from '../../plugins/connections/kafka/connection.ts';
import { recipes } from '../support/brokers.ts';
import { OwnBroker } from '../support/brokers/own-broker.ts';
import type { Recipe } from '../support/brokers/plan.ts';
import { freePorts } from '../support/brokers/ports.ts';
import { plainMessage } from '../support/plain-message.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { dial, newTopics, queueOn } from './kafka-bench.ts';

/** One of three nodes, each broker and controller, small enough for a machine of a developer. */
function node(index: number, ports: readonly number[]): Recipe {
  const [port = 0, controller = 0] = ports.slice(2 * index);
  const voters = [0, 1, 2].map((each) => `${each + 1}@127.0.0.1:${ports[2 * each + 1]}`);
  const settings = [
    `node.id=${index + 1}`,
    `controller.quorum.voters=${voters.join(',')}`,
    'default.replication.factor=3',
    // A broker that is gone is taken for gone after 9 s; a test has no patience for that.
    'broker.session.timeout.ms=3000',
    'broker.heartbeat.interval.ms=500',
    'controller.quorum.election.timeout.ms=500',
    'controller.quorum.fetch.timeout.ms=1000',
  ];
  return {
    ...recipes.kafka,
    plan: async (options) => {
      const plan = await recipes.kafka.plan({ ...options, ports: [port, controller], settings });
      const args = plan.main.args.map((arg) => arg.replace(/^-Xm([sx])512m$/, '-Xm$1256m'));
      return { ...plan, main: { ...plan.main, args } };
    },
  };
}

await describeWithOwnBroker('kafka', 'queue kafka, on three brokers', () => {
  let brokers: OwnBroker[] = [];
  let kafka: Kafka;
  beforeAll(async () => {
    const ports = await freePorts(6);
    brokers = await Promise.all([0, 1, 2].map((index) => OwnBroker.start('kafka', node(index, ports))));
    kafka = await dial('', { brokers: brokers.map(({ url }) => url) });
  }, 120_000);
  afterAll(async () => {
    await kafka?.stop();
    await Promise.all(brokers.map((broker) => broker.dispose()));
  });

  const message = (): ReturnType<typeof plainMessage> => plainMessage(createId(Date.now()));

  it('is replicated, and loses nothing that it accepted while brokers are killed one after another', async () => {
    const queue = queueOn(kafka, newTopics());
    await queue.start();
    expect(queue.durability).toBe('replicated');
    const accepted: string[] = [];
    const stop = new AbortController();
    const sending = (async () => {
      while (!stop.signal.aborted) {
        const sent = Array.from({ length: 4 }, message);
        try {
          await queue.enqueue(sent);
          accepted.push(...sent.map(({ id }) => id));
        } catch (error) {
          expect(error).toMatchObject({ code: 'queue.unavailable' });
          await sleep(20);
        }
      }
    })();
    const goesOn = async (): Promise<void> => {
      const since = accepted.length;
      await expect.poll(() => accepted.length, { timeout: 30_000 }).toBeGreaterThan(since + 100);
    };
    await goesOn();
    for (const broker of brokers) {
      await broker.kill();
      // Two of three have everything, and one of them leads before long.
      await goesOn();
      await broker.restart();
      await goesOn();
    }
    stop.abort();
    await sending;
    const drained: string[] = [];
    for (;;) {
      const options = { ttlMs: 30_000, waitMs: 0, signal: unaborted };
      const leases = await queue.lease('work.default', 200, options);
      if (leases.length === 0) break;
      drained.push(...leases.map(({ message }) => message.id));
      await Promise.all(leases.map(({ receipt }) => queue.settle(receipt, { kind: 'ack' })));
    }
    expect(new Set(drained).size).toBe(drained.length);
    const all = new Set(drained);
    expect(accepted.filter((id) => !all.has(id))).toEqual([]);
    for (const stats of await queue.lanes()) expectConserved(stats);
    await queue.stop(1000);
  }, 240_000);
});
