import { Redis } from 'ioredis';
import { Kafka, KafkaJSBrokerNotFound, logLevel } from 'kafkajs';
import { connect } from 'nats';
import type { AckMode } from '../../core/contracts/message.ts';
import type { BrokerKind, OwnBroker } from '../support/brokers.ts';
import { eventually } from '../support/gateway.ts';
import { amqp } from './connector-amqp.ts';
import type { MessagePlan } from './connector-driver.ts';
import { mqtt } from './connector-mqtt.ts';

/** A source of messages, as a stranger's producer sees it. */
export interface Source {
  /** Resolves once the broker has confirmed it; rejects, in a few seconds, when that is not known. `key`: of its order. */
  publish(topic: AckMode, body: Buffer, key: string): Promise<void>;
  /** What the broker keeps for the gateways, of both topics; undefined where it cannot tell. */
  left(): Promise<number | undefined>;
  close(): Promise<void>;
}

/** A connector as the crash tests take it. */
export interface CrashConnector {
  readonly kind: string;
  readonly broker: BrokerKind;
  /** Lines for the end of the broker's settings. */
  readonly settings?: readonly string[];
  /** What a broker needs before it can be killed. */
  readonly prepare?: (broker: OwnBroker) => Promise<void>;
  /** The modes that it has, each on a topic of that name. */
  readonly acks: readonly AckMode[];
  /** Those in which messages with the same key are run in their order, whichever gateway has them; else none. */
  readonly ordered?: readonly AckMode[];
  /** Those keys, where they say that no order is kept. */
  readonly unordered?: (topic: AckMode) => string;
  /** The connection's keys, but for `kind`. */
  readonly connection: (url: string) => string;
  /** Its own keys for that topic. Short patience, so that what a stopped gateway had is soon given to others. */
  readonly connector: (topic: AckMode) => string;
  /** Makes what has to be there for so many gateways, and returns the producer's side. */
  readonly open: (broker: OwnBroker, gateways: number) => Promise<Source>;
  /**
   * Right after a strike: how many messages the broker may give again, where that is more than were under way; also those
   * that the gateways are done with, if it has not heard of it, or not written it.
   */
  readonly givesAgain?: (broker: OwnBroker) => number;
  /** Messages of one gateway that may be done before their acknowledgement is said, as it is for many at a time; else none. */
  readonly unsaid?: number;
  /** Where, and while how much is under way, a gateway is killed that acknowledges early, if that is not as for most. */
  readonly early?: Pick<MessagePlan, 'failpoints' | 'longestMs'> & { readonly paceMs: number };
  /** The named places of its own at which a gateway is killed; those of the core come on top. */
  readonly failpoints: readonly string[];
  /** How long a gateway is stopped for, ms: longer than the broker's patience with it. */
  readonly stallMs: number;
}

/** Places of the core that every connector's messages come through. */
export const connectorFailpoints = ['execute.running', 'accept.after-enqueue', 'ack.before', 'ack.after'] as const;

const jetstream: CrashConnector = {
  kind: 'jetstream',
  broker: 'nats',
  acks: ['processed', 'enqueued'],
  connection: (url) => `servers: "${url}"`,
  connector: (topic) => `stream: crash, subjects: [crash.${topic}], durable: ${topic}, ackWait: 2s`,
  failpoints: [],
  stallMs: 3000,
  open: async ({ url }) => {
    const client = await connect({ servers: url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
    const manager = await client.jetstreamManager({ checkAPI: false });
    await manager.streams.add({ name: 'crash', subjects: ['crash.>'] });
    const jetstream = client.jetstream({ checkAPI: false });
    return {
      publish: async (topic, body) => {
        await jetstream.publish(`crash.${topic}`, body, { timeout: 2000 });
      },
      left: async () => {
        const consumers = await manager.consumers.list('crash').next();
        return consumers.reduce((sum, { num_ack_pending: given, num_pending: waiting }) => sum + given + waiting, 0);
      },
      close: () => client.close(),
    };
  },
};

const redis: CrashConnector = {
  kind: 'redis',
  broker: 'redis',
  // What is confirmed is on the disk.
  settings: ['appendfsync always'],
  acks: ['processed', 'enqueued'],
  connection: (url) => `url: "${url}"`,
  connector: (topic) => `stream: { key: ${topic} }, consumer: "gateway-\${PLACE}", claimIdle: 2s`,
  failpoints: ['source.received', 'source.before-ack', 'source.after-ack'],
  stallMs: 3000,
  open: async ({ url }) => {
    // Nothing is sent again by itself: whoever is not told does not know.
    const client = new Redis(url, { maxRetriesPerRequest: 0, commandTimeout: 2000, retryStrategy: () => 50 });
    client.on('error', () => undefined); // Each command that fails tells it.
    return {
      publish: async (topic, body) => {
        await client.xadd(topic, '*', 'body', body);
      },
      left: async () => {
        let sum = 0;
        for (const key of ['processed', 'enqueued']) {
          const [group = []] = (await client.xinfo('GROUPS', key)) as readonly (readonly unknown[])[];
          const about = (name: string): unknown => group[group.indexOf(name) + 1];
          const waiting = await client.xrange(key, `(${String(about('last-delivered-id'))}`, '+');
          sum += Number(about('pending')) + waiting.length;
        }
        return sum;
      },
      close: async () => client.disconnect(),
    };
  },
};

const kafka: CrashConnector = {
  kind: 'kafka',
  broker: 'kafka',
  // One that was killed does not get back in before its session is over.
  settings: ['group.min.session.timeout.ms=500', 'broker.session.timeout.ms=3000', 'broker.heartbeat.interval.ms=500'],
  acks: ['processed', 'enqueued'],
  // What was handed over to the queue of a gateway that died is run when that is back.
  ordered: ['processed'],
  // It commits each second, in which the producers send about so many.
  unsaid: 100,
  // Right after the broker was told of many at a time, while functions run that take longer than that does.
  early: { failpoints: ['kafka.committed:3', 'kafka.committed:5'], paceMs: 160, longestMs: 200 },
  connection: (url) => `brokers: "${url}"`,
  connector: (topic) =>
    `subscribe: { topics: [crash.${topic}], group: ${topic} }, sessionTimeout: 2s, drainTimeout: 2s`,
  unordered: (topic) => `subscribe: { topics: [crash.${topic}], group: ${topic} }, concurrency: { keyed: false }`,
  // There are commits each second only.
  failpoints: ['kafka.committing:2', 'kafka.committed:2'],
  stallMs: 3000,
  open: async ({ url }) => {
    const retry = { initialRetryTime: 50, maxRetryTime: 200, retries: 3 };
    const client = new Kafka({
      brokers: [url],
      logLevel: logLevel.NOTHING,
      retry,
      requestTimeout: 2000,
      connectionTimeout: 1000,
    });
    const [admin, producer] = [client.admin(), client.producer()];
    await Promise.all([admin.connect(), producer.connect()]);
    // One for each gateway.
    const topics = kafka.acks.map((topic) => ({ topic: `crash.${topic}`, numPartitions: 2 }));
    // Not waited for: kafkajs takes a broker that has not heard of them yet for one that never will.
    // Nor does a broker that has only just begun always know who its controller is.
    await eventually(() =>
      admin.createTopics({ topics, waitForLeaders: false }).catch((error: unknown) => {
        if (!(error instanceof KafkaJSBrokerNotFound)) throw error;
      }),
    );
    return {
      publish: async (topic, value, key) => {
        await producer.send({ topic: `crash.${topic}`, acks: -1, timeout: 2000, messages: [{ key, value }] });
      },
      left: async () => {
        let sum = 0;
        for (const groupId of kafka.acks) {
          const topic = `crash.${groupId}`;
          const ends = await admin.fetchTopicOffsets(topic);
          const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] });
          for (const { high } of ends) sum += Number(high);
          for (const { offset } of committed?.partitions ?? []) sum -= Math.max(0, Number(offset));
        }
        return sum;
      },
      close: async () => {
        await Promise.allSettled([producer.disconnect(), admin.disconnect()]);
      },
    };
  },
};

/** All of them, by their kinds. */
export const crashConnectors = { amqp, jetstream, kafka, mqtt, redis } as const satisfies Readonly<
  Record<string, CrashConnector>
>;
