import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sleep, systemClock } from '../../core/contracts/clock.ts';
import type { Lease, Queue } from '../../core/contracts/queue.ts';
import { createId } from '../../core/delivery/ids.ts';
import { ledgerSettings } from '../../core/ledger/config.ts';
import { LedgerQueue } from '../../core/ledger/queue.ts';
import { queueCases, runQueueCase } from '../../core/testing/queue-contract.ts';
import { unaborted } from '../../core/testing/queue-trial.ts';
import type { Kafka } from '../../plugins/connections/kafka/connection.ts';
import { kafkaQueueConfig } from '../../plugins/queues/kafka/index.ts';
import { KafkaJournals } from '../../plugins/queues/kafka/journals.ts';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { plainMessage } from '../support/plain-message.ts';
import { quietHost } from '../support/quiet-host.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { dial, newTopics, queueOn } from './kafka-bench.ts';

await describeWithOwnBroker('kafka', 'queue kafka, over faults', () => {
  let broker: OwnBroker;
  const cleanups: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    broker = await startBroker('kafka');
  }, 120_000);
  afterAll(() => broker.dispose());
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });

  const message = (): ReturnType<typeof plainMessage> => plainMessage(createId(Date.now()));

  const nothing = new Uint8Array();

  async function connect(): Promise<Kafka> {
    const kafka = await dial(broker.url);
    cleanups.push(() => kafka.stop());
    return kafka;
  }

  async function gateway(topics: string, settings = {}): Promise<{ readonly queue: Queue; readonly kafka: Kafka }> {
    const kafka = await connect();
    const queue = queueOn(kafka, topics, settings);
    cleanups.push(() => queue.stop(1000));
    await queue.start();
    return { queue, kafka };
  }

  function lease(queue: Queue, max: number, waitMs: number): Promise<Lease[]> {
    return queue.lease('work.default', max, { ttlMs: 30_000, waitMs, signal: unaborted });
  }

  /** Leases and acknowledges until there is no more for so long; each id as often as it came. */
  async function drain(queue: Queue, max: number, waitMs: number): Promise<string[]> {
    const ids: string[] = [];
    for (let all = await lease(queue, max, waitMs); all.length > 0; all = await lease(queue, max, waitMs)) {
      ids.push(...all.map(({ message }) => message.id));
      await Promise.all(all.map(({ receipt }) => queue.settle(receipt, { kind: 'ack' })));
    }
    return ids;
  }

  async function until(holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
    const deadline = performance.now() + ms;
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error(`it did not come to be within ${ms} ms`);
      await sleep(20);
    }
  }

  /** A gateway in a process of its own. */
  class Holder {
    readonly process: ChildProcess;
    readonly lines: string[] = [];

    constructor(topics: string) {
      const script = join(import.meta.dirname, '../support/kafka-queue-process.ts');
      this.process = spawn(process.execPath, [script, broker.url, topics], { stdio: ['pipe', 'pipe', 'inherit'] });
      createInterface({ input: this.process.stdout ?? process.stdin }).on('line', (line) => this.lines.push(line));
      cleanups.push(async () => {
        if (this.process.exitCode !== null || this.process.signalCode !== null) return;
        const gone = once(this.process, 'exit');
        this.process.kill('SIGCONT');
        this.process.kill('SIGKILL');
        await gone;
      });
    }

    async line(number: number): Promise<string> {
      await until(() => this.lines.length > number);
      return this.lines[number] ?? '';
    }
  }

  it('hands over within 20 s what a killed or a stalled gateway had, and the stalled one is stale', async () => {
    const topics = newTopics();
    const { queue } = await gateway(topics);
    const killed = new Holder(topics);
    expect(await killed.line(0)).toBe('open');
    const first = message();
    await queue.enqueue([first]);
    expect(await killed.line(1)).toBe(`${first.id} 1`);
    const stalled = new Holder(topics);
    expect(await stalled.line(0)).toBe('open');
    const second = message();
    await queue.enqueue([second]);
    expect(await stalled.line(1)).toBe(`${second.id} 1`);
    // They live: nothing of theirs is handed out, though it may take longer than a silence.
    expect(await lease(queue, 9, 14_000)).toEqual([]);

    killed.process.kill('SIGKILL');
    stalled.process.kill('SIGSTOP');
    const since = performance.now();
    const leases: Lease[] = [];
    while (leases.length < 2) leases.push(...(await lease(queue, 2 - leases.length, 20_000)));
    expect(performance.now() - since).toBeLessThan(20_000);
    expect(leases.map(({ message, attempt }) => `${message.id} ${attempt}`).toSorted()).toEqual(
      [`${first.id} 2`, `${second.id} 2`].toSorted(),
    );
    const before = await queue.find(second.id);
    stalled.process.kill('SIGCONT');
    stalled.process.stdin?.write('settle\n');
    expect(await stalled.line(2)).toBe('stale');
    expect(await queue.find(second.id)).toEqual(before);
    for (const { receipt } of leases) expect(await queue.settle(receipt, { kind: 'ack' })).toBe('settled');
    expect(await queue.find(second.id)).toMatchObject({ state: 'succeeded', attempt: 2, result: undefined });
    const [stats] = await queue.lanes();
    expect(stats).toMatchObject({ leased: 0, totals: { accepted: 2, succeeded: 2, stale: 1 } });
  }, 90_000);

  it('shares the work of one lane between gateways, which read what others wrote', async () => {
    const topics = newTopics();
    const [one, two] = await Promise.all([gateway(topics), gateway(topics)]);
    const messages = Array.from({ length: 400 }, message);
    await Promise.all([one.queue.enqueue(messages.slice(0, 200)), two.queue.enqueue(messages.slice(200))]);
    const taken = await Promise.all([one.queue, two.queue].map((queue) => drain(queue, 10, 500)));
    expect(taken.flat().toSorted()).toEqual(messages.map(({ id }) => id).toSorted());
    for (const ids of taken) expect(ids.length).toBeGreaterThan(20);
  });

  it('refuses at once while its broker is away, and hands out work within 10 s of its return', async () => {
    const { queue, kafka } = await gateway(newTopics());
    await queue.enqueue([message(), message()]);
    const [held] = await lease(queue, 1, 0);
    await broker.kill();
    await until(() => !kafka.connected);
    const asked = performance.now();
    await expect(lease(queue, 1, 0)).rejects.toMatchObject({ code: 'queue.unavailable' });
    await expect(queue.enqueue([message()])).rejects.toMatchObject({ code: 'queue.unavailable' });
    expect(performance.now() - asked).toBeLessThan(1000);
    expect(kafka.health()).toMatchObject({ state: 'reconnecting', lastError: expect.any(String) });
    await broker.restart();
    const since = performance.now();
    await until(async () => (await lease(queue, 1, 100).catch(() => [])).length === 1);
    expect(performance.now() - since).toBeLessThan(10_000);
    expect(kafka.health()).toMatchObject({ state: 'connected', reconnects: 1 });
    expect(await queue.settle(held?.receipt ?? { id: '', lane: '', epoch: 0 }, { kind: 'ack' })).toBe('settled');
  }, 60_000);

  it('fails, and says so, when its topic is made anew, also with as many entries as it had', async () => {
    for (const entries of [0, 20]) {
      const topics = newTopics();
      const topic = `${topics}.commands`;
      const { queue, kafka } = await gateway(topics);
      const { driver } = kafka;
      await queue.enqueue([message()]);
      await driver.deleteTopic(topic);
      await until(async () => (await driver.describeTopic(topic)) === undefined);
      await driver.createTopic({
        topic,
        partitions: 1,
        replicas: 1,
        settings: { 'message.timestamp.type': 'LogAppendTime' },
      });
      if (entries > 0) await driver.open(topic, 0).append(Array.from({ length: entries }, () => ({ value: nothing })));
      await until(async () => {
        const refusal: unknown = await queue.lanes().catch((error: unknown) => error);
        return refusal instanceof Error && refusal.message.includes(topic) && /made anew/.test(refusal.message);
      });
    }
  }, 60_000);

  it('says how durable it is', async () => {
    expect((await gateway(newTopics())).queue.durability).toBe('page-cache');
    expect((await gateway(newTopics(), { sync: true })).queue.durability).toBe('disk');
  });

  it('refuses topics that would lose what waits, and names each difference', async () => {
    const kafka = await connect();
    const refusal = async (settings: Record<string, string>, wishes = {}, partitions = 1): Promise<unknown> => {
      const topics = newTopics();
      const good = {
        'cleanup.policy': 'delete',
        'retention.ms': '-1',
        'retention.bytes': '-1',
        'message.timestamp.type': 'LogAppendTime',
      };
      const topic = `${topics}.commands`;
      await kafka.driver.createTopic({ topic, partitions, replicas: 1, settings: { ...good, ...settings } });
      const queue = queueOn(kafka, topics, wishes);
      return queue.start().then(
        () => queue.stop(1000),
        (error: unknown) => error,
      );
    };
    const invalid = (message: string): unknown =>
      expect.objectContaining({ code: 'config.invalid', message: expect.stringContaining(message) });
    expect(await refusal({})).toBeUndefined();
    expect(await refusal({ 'retention.ms': '604800000' })).toEqual(
      invalid('.commands is there, but not as this queue needs it: retention.ms is 604800000, expected -1.'),
    );
    expect(await refusal({ 'cleanup.policy': 'compact', 'retention.bytes': '9' })).toEqual(
      invalid('cleanup.policy is compact, expected delete; retention.bytes is 9, expected -1'),
    );
    expect(await refusal({ 'message.timestamp.type': 'CreateTime' })).toEqual(invalid('expected LogAppendTime'));
    expect(await refusal({ 'unclean.leader.election.enable': 'true' })).toEqual(invalid('expected false'));
    expect(await refusal({ 'compression.type': 'zstd' })).toEqual(invalid('compression.type is zstd'));
    expect(await refusal({ 'max.message.bytes': '1000' })).toEqual(invalid('max.message.bytes is 1000'));
    expect(await refusal({ 'min.insync.replicas': '2' })).toEqual(invalid('nothing can be written'));
    expect(await refusal({}, {}, 2)).toEqual(invalid('it has 2 partitions, expected 1'));
    expect(await refusal({}, { sync: true })).toEqual(invalid('flush.messages is 9223372036854775807, expected 1'));
    expect(await refusal({}, { replicas: 2 })).toEqual(invalid('it has 1 replicas, expected 2'));
  });

  it('says what a cluster that is too small cannot do', async () => {
    const kafka = await connect();
    await expect(queueOn(kafka, newTopics(), { replicas: 3 }).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(/refuses to make the topic \S+\.commands/),
    });
  });

  it('fails the contract without the check of epochs, and keeps it with it', async () => {
    const kafka = await connect();
    const failures = async (skipEpochCheck: boolean): Promise<string[]> => {
      const failed: string[] = [];
      for (const queueCase of queueCases) {
        if (!/^G3: (a lease is settled once|a receipt whose)/.test(queueCase.name)) continue;
        const host = quietHost(systemClock, '/', kafka);
        const config = kafkaQueueConfig.parse({ topics: newTopics() });
        const queue = new LedgerQueue(new KafkaJournals(config, host, kafka), {
          host,
          settings: ledgerSettings(config),
          faults: { skipEpochCheck },
        });
        await queue.start();
        const run = runQueueCase(queueCase, { queue, dispose: async () => {} });
        await run.catch(() => failed.push(queueCase.name));
        await queue.stop(1000);
      }
      return failed;
    };
    expect(await failures(true)).not.toEqual([]);
    expect(await failures(false)).toEqual([]);
  });

  describe('its reader', () => {
    it('passes over the marks of transactions, which are no gaps', async () => {
      const { Kafka: Client, logLevel } = await import('kafkajs');
      const topic = newTopics();
      const kafka = await connect();
      const journals = new KafkaJournals(
        kafkaQueueConfig.parse({ topics: topic }),
        quietHost(systemClock, '/', kafka),
        kafka,
      );
      await journals.open(unaborted);
      const client = new Client({ brokers: [broker.url], logLevel: logLevel.NOTHING });
      const producer = client.producer({ transactionalId: topic, maxInFlightRequests: 1, idempotent: true });
      await producer.connect();
      for (const value of ['one', 'two', 'three']) {
        const transaction = await producer.transaction();
        await transaction.send({ topic: `${topic}.commands`, messages: [{ value }] });
        await transaction.commit();
      }
      await producer.disconnect();
      const texts: string[] = [];
      const gaps: number[] = [];
      const reader = {
        entry: ({ data }: { data: Uint8Array }): void => void texts.push(Buffer.from(data).toString()),
        gap: (position: number): void => void gaps.push(position),
        lost: (error: Error): void => void texts.push(error.message),
      };
      await journals.commands.follow(0, reader, unaborted);
      await journals.commands.append(Buffer.from('four'));
      await until(() => texts.length === 4);
      expect(texts).toEqual(['one', 'two', 'three', 'four']);
      expect(gaps).toEqual([]);
      expect(await journals.commands.read(1)).toBeUndefined();
      expect(Buffer.from((await journals.commands.read(2)) ?? []).toString()).toBe('two');
      await journals.close();
    });
  });
});
