import { execFile } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, it, onTestFinished } from 'vitest';
import { BrokerMissing, programsOf } from '../support/brokers/programs.ts';
import { bodies, connectorOf, held, KafkaWorld, metric, patient, release } from '../support/kafka-world.ts';
import { holds, ran, ranHeaders, script } from '../support/plugins/inline.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const run = promisify(execFile);
const textOf = (codec: string): string => `from kcat with ${codec}: ${'again and '.repeat(500)}`;
const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

await describeWithOwnBroker('kafka', 'connector kafka', () => {
  let world: KafkaWorld;
  beforeAll(async () => {
    world = await KafkaWorld.start();
  }, 120_000);
  afterEach(() => world.tidy());
  afterAll(() => world[Symbol.asyncDispose]());

  it('runs each message of all partitions once, from the first one on, and commits it', async () => {
    const topic = await world.newTopic(3);
    const before = bodies(30, 'before');
    await world.publish(topic, before);
    const running = await world.gateway(topic);
    const after = bodies(700, 'after');
    await world.publish(topic, after);
    await world.done(topic);
    // No producer has said anything twice.
    expect((await world.endsOf(topic)).reduce((sum, end) => sum + end)).toBe(730);
    expect(ran.toSorted()).toEqual([...before, ...after].toSorted());
    await expect
      .poll(() => connectorOf(running))
      .toMatchObject({ state: 'running', settled: 730, inFlight: 0, lag: 0, reconnects: 0 });
    expect(await metric(running, 'received_total')).toBe(730);
    expect(await metric(running, 'redelivered_total')).toBe(0);
    await expect.poll(() => metric(running, 'acknowledged_total')).toBe(730);
  });

  it('never commits past a message that has not ended, whatever ends behind it', async () => {
    const topic = await world.newTopic(2);
    const options = 'function: held, concurrency: { perPartition: 4, keyed: false }';
    const first = await world.gateway(topic, options);
    await world.publish(topic, bodies(6), 0);
    await held('n0', 'n1', 'n2', 'n3');
    release('n1', 'n2', 'n3');
    await expect.poll(async () => (await connectorOf(first))['settled']).toBe(3);
    // The window is of what is unsettled.
    await held('n0', 'n1', 'n2', 'n3', 'n4', 'n5');
    release('n4', 'n5');
    await expect.poll(async () => (await connectorOf(first))['settled']).toBe(5);
    // A commit holds what is done of all partitions.
    await world.publish(topic, ['other'], 1);
    await expect.poll(() => holds.length, patient).toBe(7);
    release('other');
    await expect.poll(() => world.committedOf(topic), patient).toEqual([0, 1]);
    await first.gateway.stop(0);
    expect(await world.committedOf(topic)).toEqual([0, 1]);
    holds.length = 0;
    await world.gateway(topic, options);
    await held('n0', 'n1', 'n2', 'n3');
    release(...bodies(4));
    await held(...bodies(6));
    release(...bodies(6));
    await world.done(topic);
  }, 40_000);

  it('runs messages of a key one after another, retries included, and others meanwhile', async () => {
    const topic = await world.newTopic();
    script.push({ status: 500 }, { status: 500 });
    await world.publish(topic, [
      { key: 'a', value: 'a0' },
      { key: 'a', value: 'a1' },
      { key: 'b', value: 'b0' },
      { key: 'a', value: 'a2' },
      { key: 'b', value: 'b1' },
    ]);
    await world.gateway(topic, 'function: scripted');
    await world.done(topic);
    const of = (key: string): string[] => ran.filter((body) => body.startsWith(key));
    const isFirst = (body: string, index: number, all: string[]): boolean => body !== all[index - 1];
    expect(ran).toHaveLength(7);
    expect(of('a').filter(isFirst)).toEqual(['a0', 'a1', 'a2']);
    expect(of('b').filter(isFirst)).toEqual(['b0', 'b1']);
  });

  it('holds a key while its first message runs, and not the others', async () => {
    const topic = await world.newTopic();
    await world.publish(topic, [
      { key: 'a', value: 'a0' },
      { key: 'a', value: 'a1' },
      { key: 'b', value: 'b0' },
      { value: 'none' },
    ]);
    await world.gateway(topic, 'function: held');
    await held('a0', 'b0', 'none');
    release('a0');
    await held('a0', 'a1', 'b0', 'none');
    release('a1', 'b0', 'none');
    await world.done(topic);
  });

  it('begins with what comes, where it is told so, and keeps that place', async () => {
    const topic = await world.newTopic();
    await world.publish(topic, ['old']);
    const latest = { subscribe: ', start: latest' };
    const first = await world.gateway(topic, undefined, latest);
    // Its place is committed before anything has come.
    await expect.poll(() => world.committedOf(topic), patient).toEqual([1]);
    await first.gateway.stop(1000);
    await world.publish(topic, ['between']);
    await world.gateway(topic, undefined, latest);
    await world.publish(topic, ['new']);
    await world.done(topic);
    expect(ran).toEqual(['between', 'new']);
  });

  it('leaves what failed among the dead letters, byte for byte', async () => {
    const topic = await world.newTopic();
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    await world.publish(topic, [{ key: 'k', value: bytes }, 'unkeyed']);
    const running = await world.gateway(topic, 'function: fail');
    await world.done(topic);
    const letters = async (): Promise<{ id: string; attempt: number }[]> =>
      ((await (await fetch(`${running.url}/system/dead-letters`)).json()) as { items: never[] }).items;
    await expect.poll(async () => (await letters()).length, patient).toBe(2);
    expect(await letters()).toMatchObject([{ attempt: 3, reason: 'max_attempts' }, { attempt: 3 }]);
    const kept = await Promise.all(
      (await letters()).map(async ({ id }) =>
        Buffer.from(await (await fetch(`${running.url}/system/dead-letters/${id}/body`)).arrayBuffer()),
      ),
    );
    expect(kept.some((body) => body.equals(bytes))).toBe(true);
    expect(kept.some((body) => body.toString() === 'unkeyed')).toBe(true);
  });

  it('gives the function what the record says, and events as events', async () => {
    const topic = await world.newTopic();
    await world.gateway(topic, 'function: record, ack: enqueued, concurrency: { perPartition: 1 }');
    await world.publish(topic, [
      { key: 'käse', value: 'body', headers: { 'X-Trace': ['1', '2'], 'x-kafka-tombstone': 'true' } },
      { key: Buffer.from([255, 65]), value: null },
      {
        value: '{"a":1}',
        headers: {
          ce_specversion: '1.0',
          ce_id: '42',
          ce_source: '/shop',
          ce_type: 'order.created',
          'content-type': 'application/json',
        },
      },
    ]);
    await world.done(topic);
    await expect.poll(() => ran.toSorted()).toEqual(['', 'body', '{"a":1}']);
    const of = (offset: number) => ranHeaders.find((each) => each['x-kafka-offset'] === String(offset)) ?? {};
    expect(of(0)).toMatchObject({
      'x-trace': ['1', '2'],
      'x-connector': 'kafka',
      'x-topic': topic,
      'x-kafka-topic': topic,
      'x-kafka-partition': '0',
      'x-kafka-key': 'k%C3%A4se',
      'ce-id': `${topic}:0:0`,
      'ce-source': '/connectors/events',
      'ce-type': 'millrace.kafka.message',
    });
    expect(of(0)).not.toHaveProperty('x-kafka-tombstone');
    expect(of(1)).toMatchObject({ 'x-kafka-tombstone': 'true', 'x-kafka-key': '%FFA' });
    expect(of(2)).toMatchObject({
      'ce-id': '42',
      'ce-source': '/shop',
      'ce-type': 'order.created',
      'content-type': 'application/json',
    });
    expect(of(2)).not.toHaveProperty('x-kafka-key');
  });

  it('passes over what transactions took back and where they ended, to no lag at all', async () => {
    const topic = await world.newTopic();
    const transactional = world.client.producer({ transactionalId: topic, maxInFlightRequests: 1, idempotent: true });
    await transactional.connect();
    onTestFinished(() => transactional.disconnect());
    for (const [value, isTaken] of [
      ['one', true],
      ['never', false],
      ['two', true],
      ['nor', false],
    ] as const) {
      const transaction = await transactional.transaction();
      await transaction.send({ topic, messages: [{ value }] });
      await (isTaken ? transaction.commit() : transaction.abort());
    }
    const running = await world.gateway(topic);
    await world.done(topic);
    expect(ran).toEqual(['one', 'two']);
    expect(await world.endsOf(topic)).toEqual([8]);
    await expect.poll(async () => (await connectorOf(running))['lag']).toBe(0);
  });

  it('passes over the holes that compaction leaves, to no lag at all', async () => {
    const topic = await world.newTopic(1, {
      'cleanup.policy': 'compact',
      'segment.ms': '100',
      'min.cleanable.dirty.ratio': '0.01',
    });
    for (const value of bodies(20)) await world.publish(topic, [{ key: 'same', value }]);
    // What is written to is not compacted: a later one closes it.
    const left = async (): Promise<number> => {
      await world.publish(topic, [{ key: 'other', value: 'x' }]);
      const reader = world.client.consumer({ groupId: `reader-${randomUUID()}` });
      const offsets: number[] = [];
      const end = (await world.endsOf(topic))[0] ?? 0;
      const { promise, resolve } = Promise.withResolvers<void>();
      await reader.connect();
      await reader.subscribe({ topics: [topic], fromBeginning: true });
      await reader.run({
        eachMessage: async ({ message: { offset } }) => {
          offsets.push(Number(offset));
          if (Number(offset) >= end - 1) resolve();
        },
      });
      await promise;
      await reader.disconnect();
      return offsets.filter((offset) => offset < 20).length;
    };
    await expect.poll(left, { timeout: 40_000, interval: 500 }).toBeLessThan(20);
    const running = await world.gateway(topic);
    await world.done(topic);
    expect(ran).toContain('n19');
    expect(ran).not.toContain('n0');
    await expect.poll(async () => (await connectorOf(running))['lag']).toBe(0);
  }, 90_000);

  it('stops reading a partition of which messages are missing, and says so; or goes on where it is told', async () => {
    const topic = await world.newTopic();
    await world.publish(topic, bodies(10));
    await world.admin.setOffsets({ groupId: topic, topic, partitions: [{ partition: 0, offset: '2' }] });
    await world.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] });
    const running = await world.gateway(topic);
    await expect
      .poll(async () => (await connectorOf(running))['lastError'], patient)
      .toContain('offset 2 was to be read next, and 5 to 10 is what there is');
    expect(ran).toEqual([]);
    expect(await metric(running, 'out_of_range_total')).toBe(1);
    await running.gateway.stop(1000);
    expect(await world.committedOf(topic)).toEqual([2]);
    await world.gateway(topic, 'function: record, outOfRange: earliest');
    await world.done(topic);
    expect(ran.toSorted()).toEqual(bodies(10).slice(5));
  });

  it.each(['snappy', 'lz4', 'zstd', 'gzip'])('reads what the broker itself has compressed with %s', async (codec) => {
    const topic = await world.newTopic(1, { 'compression.type': codec });
    const words = Array.from({ length: 40_000 }, (_, index) => `word${(index * index) % 977} `);
    const texts = [words.join(''), 'short', randomBytes(100_000).toString('hex'), 'x'.repeat(300_000)];
    await world.publish(topic, texts);
    await world.gateway(topic);
    await world.done(topic);
    expect(ran.toSorted().map(digest)).toEqual(texts.toSorted().map(digest));
  });

  it('takes what others write: kcat', async (context) => {
    try {
      await programsOf({ programs: ['kcat'], packages: ['kcat'] });
    } catch (error) {
      if (!(error instanceof BrokerMissing) || process.env['MILLRACE_REQUIRE_BROKERS'] === '1') throw error;
      return context.skip(error.message);
    }
    const topic = await world.newTopic();
    await world.gateway(topic, 'function: record, concurrency: { perPartition: 1 }');
    const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
    for (const codec of codecs) {
      const produce = run('kcat', [
        '-P',
        '-b',
        world.server.url,
        '-t',
        topic,
        '-k',
        'the-key',
        '-H',
        `codec=${codec}`,
        '-z',
        codec,
      ]);
      produce.child.stdin?.end(textOf(codec));
      await produce;
    }
    await world.done(topic);
    expect(ran).toEqual(codecs.map(textOf));
    expect(ranHeaders[1]).toMatchObject({ codec: 'gzip', 'x-kafka-key': 'the-key' });
  }, 300_000);
});
