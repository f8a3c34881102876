import { type Admin, Kafka, logLevel, type Message, type Producer } from 'kafkajs';
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { type OwnBroker, startBroker } from './brokers.ts';
import { testGateway, type TestGateway } from './gateway.ts';
import { holds, ran, ranHeaders, script } from './plugins/inline.ts';

/** Of `expect.poll`: the machine may be busy with other things. */
export const patient = { timeout: 20_000 };

/** A function of a test is to take longer than a session, and a compaction not much longer than a test. */
const settings = [
  'group.min.session.timeout.ms=500',
  'log.cleaner.backoff.ms=200',
  'log.cleaner.min.cleanable.ratio=0.01',
];

export const bodies = (count: number, prefix = 'n'): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`);

/** Resolves when exactly these are running. */
export const held = (...wanted: string[]): Promise<void> =>
  expect.poll(() => holds.map(({ body }) => body).toSorted(), patient).toEqual(wanted.toSorted());

export function release(...wanted: string[]): void {
  for (const hold of holds) if (wanted.includes(hold.body)) hold.release();
}

/** As `/system/connectors` tells it. */
export async function connectorOf({ url }: { readonly url: string }): Promise<Record<string, unknown>> {
  const rows = (await (await fetch(`${url}/system/connectors`)).json()) as Record<string, unknown>[];
  return rows.find((row) => row['name'] === 'events') ?? {};
}

/** A counter that has counted nothing yet is not told. */
export async function metric({ gateway: { managementUrl } }: TestGateway, name: string): Promise<number> {
  const text = await (await fetch(`${managementUrl}/metrics`)).text();
  return Number(new RegExp(`^millrace_kafka_${name}\\{[^}]*"events"[^}]*\\} (\\S+)`, 'm').exec(text)?.[1] ?? 0);
}

/** Resolves when the gateway has so many partitions. */
export const has = (running: TestGateway, partitions: number): Promise<void> =>
  expect.poll(() => metric(running, 'partitions'), patient).toBe(partitions);

/** A broker, a client that nobody here wrote, and gateways with a connector `events`. */
export class KafkaWorld implements AsyncDisposable {
  readonly server: OwnBroker;
  readonly client: Kafka;
  readonly admin: Admin;
  readonly #producer: Producer;
  readonly #gateways: TestGateway[] = [];

  private constructor(server: OwnBroker) {
    this.server = server;
    const retry = { retries: 50, maxRetryTime: 1000 };
    this.client = new Kafka({ brokers: [server.url], logLevel: logLevel.NOTHING, retry });
    this.admin = this.client.admin();
    // Or it says again what a topic that was just made has taken already.
    this.#producer = this.client.producer({ idempotent: true, maxInFlightRequests: 1 });
  }

  static async start(): Promise<KafkaWorld> {
    const world = new KafkaWorld(await startBroker('kafka', { settings }));
    await Promise.all([world.admin.connect(), world.#producer.connect()]);
    return world;
  }

  /** After each test. */
  async tidy(): Promise<void> {
    for (const hold of holds) hold.release();
    for (const running of this.#gateways.splice(0).toReversed()) await running[Symbol.asyncDispose]();
    for (const each of [ran, ranHeaders, script, holds]) each.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tidy();
    await Promise.allSettled([this.admin.disconnect(), this.#producer.disconnect()]);
    await this.server.dispose();
  }

  /** With a name of its own, which is that of its group as well. */
  async newTopic(numPartitions = 1, entries: Record<string, string> = {}): Promise<string> {
    const topic = `t-${randomUUID()}`;
    const configEntries = Object.entries(entries).map(([name, value]) => ({ name, value }));
    await this.admin.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: true });
    return topic;
  }

  async gateway(
    topic: string,
    connector = 'function: record',
    { topics = `[${topic}]`, subscribe = '' } = {},
  ): Promise<TestGateway> {
    const running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 } }
connections: { main: { kind: kafka, brokers: "${this.server.url}" } }
policies: { retry: { quick: { attempts: 3, backoff: { kind: fixed, initial: 20ms, jitter: none } } } }
functions:
  record: { behaviour: record }
  scripted: { behaviour: scripted, invoke: { retry: quick } }
  held: { behaviour: held, invoke: { timeout: 1m } }
  fail: { behaviour: fail, invoke: { retry: quick } }
connectors: { events: { kind: kafka, subscribe: { topics: ${topics}, group: ${topic} ${subscribe} }, ${connector} } }
`);
    this.#gateways.push(running);
    return running;
  }

  async publish(topic: string, messages: readonly (Message | string)[], partition?: number): Promise<void> {
    const whole = messages.map((each) => (typeof each === 'string' ? { value: each } : each));
    const placed = whole.map((each) => (partition === undefined ? each : { ...each, partition }));
    await this.#producer.send({ topic, acks: -1, messages: placed });
  }

  /** By partition; -1 where nothing is. */
  async committedOf(topic: string): Promise<number[]> {
    const [found] = await this.admin.fetchOffsets({ groupId: topic, topics: [topic] });
    return inOrder(found?.partitions ?? []);
  }

  async endsOf(topic: string): Promise<number[]> {
    return inOrder(await this.admin.fetchTopicOffsets(topic));
  }

  /** Resolves when everything of the topic is committed. */
  async done(topic: string): Promise<void> {
    const owed = async (): Promise<boolean[]> => {
      const [committed, ends] = [await this.committedOf(topic), await this.endsOf(topic)];
      return ends.map((end, partition) => committed[partition] === end);
    };
    await expect.poll(async () => (await owed()).every(Boolean), { timeout: 60_000 }).toBe(true);
  }
}

function inOrder(all: readonly { readonly partition: number; readonly offset: string }[]): number[] {
  return all.toSorted((a, b) => a.partition - b.partition).map(({ offset }) => Number(offset));
}
