import { once } from 'node:events';
import type { Socket } from 'node:net';
import amqplib from 'amqplib';
import { Redis } from 'ioredis';
import { Kafka, logLevel } from 'kafkajs';
import { connectAsync } from 'mqtt';
import { AckPolicy, connect } from 'nats';
import type { AckMode } from '../../core/contracts/message.ts';
import type { BrokerKind } from '../../test/support/brokers.ts';

/**
 * So many messages go before those that are measured: V8 has compiled both sides by then, which costs the most of a start.
 * 20,000 were not enough: in blocks of 10,000, a message costs either side less up to the sixth (of Kafka 12 µs bare and 26 µs
 * ours in the second one, 4.6 µs and 5.2 µs in the seventh).
 */
export const warmUp = 60_000;
/** So many messages are asked for at once of a `sender`, and four times as many are under way. */
export const step = 250;

/** A broker with messages for a consumer, and the consumer that one would write over its client library. */
export interface Source {
  readonly broker: BrokerKind;
  readonly settings?: readonly string[];
  /** Instead of the standard one. */
  readonly warmUp?: number;
  /** Makes `name` at the broker and puts so many messages into it. */
  fill?(url: string, name: string, count: number): Promise<void>;
  /** What has been acknowledged stays for other groups: all runs read the same. */
  readonly isKept?: boolean;
  /** It keeps one that the bare loop does not, so that the bar is not for it. */
  readonly isAnotherPromise?: boolean;
  /** Of a broker that keeps nothing for whoever is not there yet: sends so many, each time that it is called. */
  sender?(url: string, name: string): Promise<(count: number) => Promise<void>>;
  /**
   * A bare loop: up to 64 at once, or as the client library gives them, each acknowledged when `handle` has resolved. Never
   * ends, unless there is a `sender`:
   * then it resolves when it listens.
   */
  bare(url: string, name: string, group: string, handle: (body: Uint8Array) => Promise<void>): Promise<void>;
  /** The same by Millrace, as YAML. */
  readonly connection: (url: string, name: string) => string;
  readonly connector: (name: string, group: string) => string;
}

const body = Buffer.alloc(256, 'x');

export const sources: Readonly<Record<string, Source>> = {
  jetstream: {
    broker: 'nats',
    isKept: true,
    fill: async (url, name, count) => {
      const nats = await connect({ servers: url });
      await (await nats.jetstreamManager()).streams.add({ name, subjects: [name] });
      for (let sent = 0; sent < count; sent += 500) {
        await Promise.all(
          Array.from({ length: Math.min(500, count - sent) }, () => nats.jetstream().publish(name, body)),
        );
      }
      await nats.close();
    },
    bare: async (url, name, group, handle) => {
      const nats = await connect({ servers: url });
      const manager = await nats.jetstreamManager();
      await manager.consumers.add(name, { durable_name: group, ack_policy: AckPolicy.Explicit });
      const consumer = await nats.jetstream().consumers.get(name, group);
      for await (const message of await consumer.consume({ max_messages: 64 })) {
        void handle(message.data).then(() => message.ack());
      }
    },
    connection: (url) => `kind: nats, servers: "${url}"`,
    connector: (name, group) => `kind: jetstream, stream: ${name}, durable: ${group}`,
  },
  kafka: {
    broker: 'kafka',
    isKept: true,
    fill: async (url, name, count) => {
      const kafka = new Kafka({ brokers: [url], logLevel: logLevel.NOTHING });
      const admin = kafka.admin();
      await admin.connect();
      await admin.createTopics({ topics: [{ topic: name, numPartitions: 1 }], waitForLeaders: true });
      await admin.disconnect();
      const producer = kafka.producer();
      await producer.connect();
      for (let sent = 0; sent < count; sent += 500) {
        await producer.send({
          topic: name,
          messages: Array.from({ length: Math.min(500, count - sent) }, () => ({ value: body })),
        });
      }
      await producer.disconnect();
    },
    bare: async (url, name, group, handle) => {
      const kafka = new Kafka({ brokers: [url], logLevel: logLevel.NOTHING });
      const consumer = kafka.consumer({ groupId: group });
      await consumer.connect();
      await consumer.subscribe({ topic: name, fromBeginning: true });
      await consumer.run({ eachMessage: ({ message }) => handle(message.value ?? Buffer.alloc(0)) });
    },
    connection: (url) => `kind: kafka, brokers: "${url}"`,
    connector: (name, group) => `kind: kafka, subscribe: { topics: [${name}], group: ${group}, start: earliest }`,
  },
  amqp: {
    broker: 'amqp',
    fill: async (url, name, count) => {
      const amqp = await amqplib.connect(url);
      const channel = await amqp.createConfirmChannel();
      await channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
      for (let sent = 0; sent < count; sent++) {
        if (!channel.sendToQueue(name, body, { persistent: true })) await once(channel, 'drain');
      }
      await channel.waitForConfirms();
      await amqp.close();
    },
    bare: async (url, name, _group, handle) => {
      const amqp = await amqplib.connect(url);
      const channel = await amqp.createChannel();
      await channel.prefetch(64);
      await channel.consume(name, (message) => {
        if (message) void handle(message.content).then(() => channel.ack(message));
      });
    },
    connection: (url) => `kind: amqp, url: "${url}"`,
    connector: (name) => `kind: amqp, queue: { name: ${name}, type: quorum }`,
  },
  redis: {
    broker: 'redis',
    isKept: true,
    fill: async (url, name, count) => {
      const redis = new Redis(url);
      for (let sent = 0; sent < count; sent += 500) {
        const added = redis.pipeline();
        for (let index = 0; index < Math.min(500, count - sent); index++) added.xadd(name, '*', 'body', body);
        await added.exec();
      }
      await redis.quit();
    },
    bare: async (url, name, group, handle) => {
      const reader = new Redis(url);
      const redis = new Redis(url);
      await redis.xgroup('CREATE', name, group, '0');
      for (;;) {
        const reading = reader.xreadgroupBuffer(
          'GROUP',
          group,
          'one',
          'COUNT',
          64,
          'BLOCK',
          2000,
          'STREAMS',
          name,
          '>',
        );
        const answer = (await reading) as [Buffer, [Buffer, Buffer[]][]][] | null;
        await Promise.all(
          (answer?.[0]?.[1] ?? []).map(async ([id, fields]) => {
            await handle(fields[1] ?? Buffer.alloc(0));
            await redis.xack(name, group, id);
          }),
        );
      }
    },
    connection: (url) => `kind: redis, url: "${url}"`,
    connector: (name, group) => `kind: redis, stream: { key: ${name}, group: ${group} }`,
  },
  // As the loops of all brokers: acknowledged when the function has answered.
  mqtt: mqtt('processed'),
  // Its default, which keeps a promise that the bare loop does not.
  'mqtt-enqueued': {
    ...mqtt('enqueued'),
    isAnotherPromise: true,
    // The memory queue has as many ended invocations to remember by then as it ever will.
    warmUp: 100_000,
  },
  nats: {
    broker: 'nats',
    sender: async (url, name) => {
      const nats = await connect({ servers: url });
      return async (count) => {
        for (let sent = 0; sent < count; sent++) nats.publish(name, body);
        await nats.flush();
      };
    },
    bare: async (url, name, group, handle) => {
      const nats = await connect({ servers: url });
      const messages = nats.subscribe(name, { queue: group });
      await nats.flush();
      void (async () => {
        for await (const { data } of messages) await handle(data);
      })();
    },
    connection: (url) => `kind: nats, servers: "${url}"`,
    connector: (name) => `kind: nats, delivery: at-most-once, subjects: [${name}]`,
  },
};

function mqtt(ack: AckMode): Source {
  return {
    broker: 'mqtt',
    // Or the broker waits 40 ms with each packet for the acknowledgement of the one before, and writes all it has to the
    // disk each time that something changes.
    settings: ['set_tcp_nodelay true', 'max_inflight_messages 64', 'autosave_on_changes false', 'autosave_interval 0'],
    sender: async (url, name) => {
      const mqtt = await connectAsync(url, { protocolVersion: 5 });
      (mqtt.stream as Socket).setNoDelay();
      return async (count) => {
        await Promise.all(Array.from({ length: count }, () => mqtt.publishAsync(name, body, { qos: 1 })));
      };
    },
    bare: async (url, name, _group, handle) => {
      const properties = { receiveMaximum: 64, sessionExpiryInterval: 60 };
      const mqtt = await connectAsync(url, { protocolVersion: 5, clientId: name, clean: false, properties });
      const run = async (payload: Buffer, done: () => void): Promise<void> => {
        await handle(payload);
        done();
      };
      mqtt.handleMessage = ({ payload }, done) => void run(Buffer.from(payload), done);
      // Or each acknowledgement waits 40 ms for that of a packet.
      (mqtt.stream as Socket).setNoDelay();
      await mqtt.subscribeAsync(name, { qos: 1 });
    },
    // A client of its own for each run: a session that is taken up brings what the run before had left.
    connection: (url, name) => `kind: mqtt, url: "${url}", clientId: ${name}`,
    connector: (name) => `kind: mqtt, ack: ${ack}, subscribe: [{ topic: ${name}, qos: 1 }]`,
  };
}
