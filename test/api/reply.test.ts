import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import amqplib from 'amqplib';
import { Redis } from 'ioredis';
import { Kafka, logLevel } from 'kafkajs';
import { connectAsync } from 'mqtt';
import { connect } from 'nats';
import { request } from 'undici';
import { afterEach, expect, it } from 'vitest';
import type { BrokerKind } from '../support/brokers.ts';
import { inlinePlugin, testGateway, type TestGateway } from '../support/gateway.ts';
import { ran, ranHeaders, script } from '../support/plugins/inline.ts';
import { describeWithBroker } from '../support/with-broker.ts';

const plugin = join(import.meta.dirname, '../support/plugins/messages.ts');
const cleanups: (() => PromiseLike<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function gateway(connection: string, reply: string, more = ''): Promise<TestGateway> {
  for (const each of [ran, ranHeaders, script]) each.length = 0;
  const running = await testGateway(
    `
gateway: { listen: { port: 0 }, management: { port: 0 } }
connections: { main: { ${connection} } }
policies: { retry: { never: { attempts: 1 } } }
functions: { a: { behaviour: scripted, invoke: { retry: never } } }
connectors: { bus: { kind: messages-test, function: a, reply: { connection: main, ${reply} }, ${more} } }
`,
    {},
    [inlinePlugin, plugin],
  );
  cleanups.push(() => running[Symbol.asyncDispose]());
  return running;
}

async function give({ url }: TestGateway, message: Record<string, unknown>): Promise<unknown> {
  const headers = { 'content-type': 'application/json' };
  const answer = await request(`${url}/messages`, { method: 'POST', headers, body: JSON.stringify(message) });
  return answer.body.json();
}

const lettersOf = async ({ url }: TestGateway): Promise<unknown[]> =>
  ((await (await request(`${url}/system/dead-letters`)).body.json()) as { items: unknown[] }).items;

/** What others read at the broker. */
interface Read {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly key?: string | undefined;
}
interface Target {
  readonly connection: (url: string) => string;
  /** Makes the target, and returns how its messages are read. */
  readonly open: (url: string, name: string) => Promise<() => Promise<Read[]>>;
  /** What is to be seen of the attribute `type`. */
  readonly typeHeader: string;
  readonly keyed?: boolean;
}

const targets: Partial<Record<BrokerKind, Target>> = {
  nats: {
    connection: (url) => `kind: nats, servers: "${url}"`,
    typeHeader: 'ce-type',
    open: async (url, name) => {
      const nats = await connect({ servers: url });
      cleanups.push(() => nats.close());
      await (await nats.jetstreamManager()).streams.add({ name, subjects: [name] });
      const consumer = await nats.jetstream().consumers.get(name);
      const found: Read[] = [];
      return async () => {
        for await (const message of await consumer.fetch({ max_messages: 10, expires: 1000 })) {
          const headers = Object.fromEntries(
            [...(message.headers ?? [])].map(([key, values]) => [key, values[0] ?? '']),
          );
          found.push({ headers, body: message.string() });
        }
        return found;
      };
    },
  },
  redis: {
    connection: (url) => `kind: redis, url: "${url}"`,
    typeHeader: 'ce-type',
    keyed: true,
    open: async (url, name) => {
      const redis = new Redis(url);
      cleanups.push(() => redis.quit());
      return async () =>
        (await redis.xrange(name, '-', '+')).map(([, fields]) => {
          const pairs = Array.from({ length: fields.length / 2 }, (_, at) => [fields[2 * at], fields[2 * at + 1]]);
          const { body = '', key, ...headers } = Object.fromEntries(pairs) as Record<string, string>;
          return { headers, body, key };
        });
    },
  },
  amqp: {
    connection: (url) => `kind: amqp, url: "${url}"`,
    typeHeader: 'cloudEvents_type',
    open: async (url, name) => {
      const amqp = await amqplib.connect(url);
      cleanups.push(() => amqp.close());
      const channel = await amqp.createChannel();
      await channel.assertQueue(name, { durable: true });
      const found: Read[] = [];
      return async () => {
        for (let message = await channel.get(name); message; message = await channel.get(name)) {
          const { headers, contentType } = message.properties;
          const all = { ...(headers as Record<string, string>), 'content-type': String(contentType) };
          found.push({ headers: all, body: message.content.toString() });
        }
        return found;
      };
    },
  },
  mqtt: {
    connection: (url) => `kind: mqtt, url: "${url}", clientId: ${randomUUID()}`,
    typeHeader: 'type',
    open: async (url, name) => {
      const client = await connectAsync(url, { protocolVersion: 5 });
      cleanups.push(() => client.endAsync());
      const found: Read[] = [];
      client.on('message', (_topic, payload, { properties = {} }) => {
        const { contentType = '', userProperties = {} } = properties;
        const headers = { ...(userProperties as Record<string, string>), 'content-type': contentType };
        found.push({ headers, body: payload.toString() });
      });
      await client.subscribeAsync(name, { qos: 1 });
      return async () => found;
    },
  },
  kafka: {
    connection: (url) => `kind: kafka, brokers: "${url}"`,
    typeHeader: 'ce_type',
    keyed: true,
    open: async (url, name) => {
      const kafka = new Kafka({ brokers: [url], logLevel: logLevel.NOTHING });
      const admin = kafka.admin();
      await admin.connect();
      cleanups.push(() => admin.disconnect());
      await admin.createTopics({ topics: [{ topic: name, numPartitions: 3 }], waitForLeaders: true });
      const consumer = kafka.consumer({ groupId: name });
      await consumer.connect();
      cleanups.push(() => consumer.disconnect());
      await consumer.subscribe({ topic: name, fromBeginning: true });
      const found: Read[] = [];
      await consumer.run({
        eachMessage: async ({ message: { headers = {}, value, key } }) => {
          const texts = Object.entries(headers).map(([header, text]) => [header, String(text)]);
          found.push({ headers: Object.fromEntries(texts), body: String(value), key: key?.toString() });
        },
      });
      return async () => found;
    },
  },
};

for (const [kind, target] of Object.entries(targets) as [BrokerKind, Target][]) {
  await describeWithBroker(kind, `a reply over ${kind}`, (url) => {
    it('is the outcome as a CloudEvent, in the way of the binding', async () => {
      const name = `reply-${randomUUID()}`;
      const read = await target.open(url, name);
      const running = await gateway(target.connection(url), `to: ${name}, key: key`);
      script.push({ status: 200, body: 'fine' }, { status: 422, body: 'bad' });
      expect(await give(running, { body: '1', key: 'k1' })).toEqual({ kind: 'done' });
      expect(await give(running, { body: '2', key: 'k2' })).toEqual({ kind: 'dead', reason: 'permanent' });
      await expect.poll(async () => (await read()).length, { timeout: 20_000 }).toBe(2);
      const replies = (await read()).toSorted((a, b) => Number(a.body < b.body) - Number(a.body > b.body));
      expect(replies).toMatchObject([
        { body: 'fine', headers: { 'x-function-status': '200', [target.typeHeader]: 'millrace.function.succeeded' } },
        { body: 'bad', headers: { 'x-function-status': '422', [target.typeHeader]: 'millrace.function.failed' } },
      ]);
      if (target.keyed) expect(replies.map(({ key }) => key)).toEqual(['k1', 'k2']);
    }, 30_000);

    it('may be one structured event, also of what went through the queue', async () => {
      const name = `reply-${randomUUID()}`;
      const read = await target.open(url, name);
      const running = await gateway(target.connection(url), `to: ${name}, structured: true`, 'ack: enqueued');
      script.push({ status: 200, body: 'fine' });
      const accepted = (await give(running, { body: '1' })) as { id: string };
      await expect.poll(async () => (await read()).length, { timeout: 20_000 }).toBe(1);
      const [reply] = await read();
      expect(reply?.headers['content-type']).toBe('application/cloudevents+json');
      expect(JSON.parse(reply?.body ?? '')).toMatchObject({
        specversion: '1.0',
        id: accepted.id,
        source: '/functions/a.openfaas-fn',
        type: 'millrace.function.succeeded',
        data: 'fine',
      });
    }, 30_000);
  });
}

await describeWithBroker('redis', 'a reply of a batch', (url) => {
  it('is published once for what succeeded, and for each that failed alone', async () => {
    const name = `reply-${randomUUID()}`;
    const read = await targets.redis?.open(url, name);
    const running = await gateway(`kind: redis, url: "${url}"`, `to: ${name}`, 'batch: { size: 2, window: 10s }');
    script.push(
      { status: 200, body: 'both' },
      { status: 500 },
      { status: 422, body: 'bad' },
      { status: 200, body: 'good' },
    );
    await Promise.all([give(running, { body: '1' }), give(running, { body: '2' })]);
    await Promise.all([give(running, { body: '3' }), give(running, { body: '4' })]);
    await expect
      .poll(async () => (await read?.())?.map(({ body }) => body).toSorted())
      .toEqual(['bad', 'both', 'good']);
  });
});

await describeWithBroker('amqp', 'a reply that no broker can take', (url) => {
  it('is found among the dead letters', async () => {
    const running = await gateway(`kind: amqp, url: "${url}"`, `to: ${randomUUID()}`);
    expect(await give(running, { body: '1' })).toEqual({ kind: 'done' });
    await expect.poll(() => lettersOf(running)).toMatchObject([{ function: 'reply.millrace', reason: 'permanent' }]);
  });
});

it.each([
  ['connection: other', 'no connection "other"'],
  ['{}', 'no connection'],
])('needs a connection that can publish: %s', async (reply, why) => {
  const yaml = `
functions: { a: { behaviour: scripted } }
connectors: { bus: { kind: messages-test, function: a, reply: { to: x, ${reply.replace('{}', 'structured: true')} } } }
`;
  await expect(testGateway(yaml, {}, [inlinePlugin, plugin])).rejects.toThrow(why);
});
