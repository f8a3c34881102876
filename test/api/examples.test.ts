import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import amqplib from 'amqplib';
import { Redis } from 'ioredis';
import { Kafka, logLevel } from 'kafkajs';
import { connectAsync } from 'mqtt';
import { connect } from 'nats';
import { pino } from 'pino';
import { request } from 'undici';
import { expect, it } from 'vitest';
import { requireConfig } from '../../core/config/load.ts';
import { compose } from '../../core/host/compose.ts';
import { Gateway } from '../../core/host/gateway.ts';
import { brokerKinds, startBroker } from '../support/brokers.ts';
import { builtIns, eventually, testDefaults } from '../support/gateway.ts';
import { type Handler, serve } from '../support/http-functions.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const examples = join(import.meta.dirname, '../../config/examples');

/** The example as it stands, but for where it keeps its files. */
function copyOf(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-example-'));
  const text = readFileSync(join(examples, name), 'utf8')
    .replaceAll('../../data/', `${folder}/`)
    .replaceAll('../functions/', join(examples, '../functions/'));
  const file = join(folder, 'millrace.yaml');
  writeFileSync(file, text);
  return file;
}

it('the example of commands runs each of its functions', async () => {
  const environment = { PORT: '0', MANAGEMENT_PORT: '0' };
  const config = await requireConfig(copyOf('process.yaml'), builtIns(), testDefaults, environment);
  await using stack = new AsyncDisposableStack();
  const gateway = new Gateway(compose(config, pino({ level: 'silent' })), tmpdir());
  stack.defer(() => gateway.stop(2000));
  await gateway.start();
  const call = async (path: string, body?: string): Promise<string> => {
    const headers = { 'x-name': 'Ada' };
    const answer = await request(`${gateway.url}/function/${path}`, { method: 'POST', headers, body: body ?? null });
    return answer.body.text();
  };
  expect(await call('upper', 'hello')).toBe('HELLO');
  expect(await call('about/path?x=1')).toBe('POST /path x=1 Ada\n');
  expect(await call('ticks')).toBe('1\n2\n3\n');
  expect(await call('words', 'one,two')).toBe('one\ntwo');
  const answers = new Set<string>();
  await eventually(async () => answers.add(await call('hello')).size === 2 || undefined);
  expect([...answers].join('')).toMatch(/^(Hello from process \d+\n){2}$/);
}, 60_000);

it('the example with functions behind a URL calls them', async () => {
  await using stack = new AsyncDisposableStack();
  const shown: Handler = ({ url, headers }, response) => void response.end(`${url} ${headers.authorization}`);
  const ports = await Promise.all([1, 2, 3].map(async () => new URL(stack.use(await serve(shown)).url).port));
  const [FILES_PORT = '', SHOP_PORT = '', OTHER_SHOP_PORT = ''] = ports;
  const config = await requireConfig(copyOf('http-provider.yaml'), builtIns(), testDefaults, {
    PORT: '0',
    MANAGEMENT_PORT: '0',
    FILES_PORT,
    SHOP_PORT,
    OTHER_SHOP_PORT,
    SHOP_TOKEN: 'secret',
  });
  const gateway = new Gateway(compose(config, pino({ level: 'silent' })), tmpdir());
  stack.defer(() => gateway.stop(2000));
  await gateway.start();
  const at = async (path: string): Promise<string> => (await request(`${gateway.url}${path}`)).body.text();
  expect(await at('/function/files/README.md?raw')).toBe('/README.md?raw undefined');
  expect(await at('/function/shop/orders')).toBe('/api/orders Bearer secret');
});

// Kafka is the one that is missing first.
await describeWithOwnBroker('kafka', 'the example with every connector', () => {
  it('runs the message of each broker', async () => {
    await using stack = new AsyncDisposableStack();
    const brokers = await Promise.all(
      brokerKinds.map(async (kind) => [kind, stack.use(await startBroker(kind)).url] as const),
    );
    const url = Object.fromEntries(brokers) as Record<(typeof brokerKinds)[number], string>;
    const nats = await connect({ servers: url.nats });
    stack.defer(() => nats.close());
    await (await nats.jetstreamManager()).streams.add({ name: 'ORDERS', subjects: ['orders.>'] });
    const kafka = new Kafka({ brokers: [url.kafka], logLevel: logLevel.NOTHING });
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: 'orders.v1', numPartitions: 6 }], waitForLeaders: true });
    await admin.disconnect();

    const config = await requireConfig(copyOf('all.yaml'), builtIns(), testDefaults, {
      PORT: '0',
      MANAGEMENT_PORT: '0',
      NATS_URL: url.nats,
      KAFKA_BROKERS: url.kafka,
      AMQP_URL: url.amqp,
      MQTT_URL: url.mqtt,
      REDIS_URL: url.redis,
    });
    const gateway = new Gateway(compose(config, pino({ level: 'silent' })), tmpdir());
    stack.defer(() => gateway.stop(2000));
    await gateway.start();
    const rows = async (): Promise<Record<string, { state: string; settled: number }>> => {
      const found = (await (await request(`${gateway.url}/system/connectors`)).body.json()) as { name: string }[];
      return Object.fromEntries(found.map((row) => [row.name, row])) as never;
    };
    const isRunning = async (): Promise<boolean> =>
      Object.values(await rows()).every(({ state }) => state === 'running');
    await expect.poll(isRunning, { timeout: 30_000 }).toBe(true);

    const body = '{"name":"Ada"}';
    await nats.jetstream().publish('orders.new', body);
    expect((await nats.request('greet.ada', body, { timeout: 10_000 })).string()).toContain('Ada');
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic: 'orders.v1', messages: [{ key: 'customer-1', value: body }] });
    await producer.disconnect();
    const amqp = await amqplib.connect(url.amqp);
    stack.defer(() => amqp.close());
    const channel = await amqp.createConfirmChannel();
    channel.publish('shop', 'mail.welcome', Buffer.from(body));
    await channel.waitForConfirms();
    const mqtt = await connectAsync(url.mqtt);
    stack.defer(() => mqtt.endAsync());
    await mqtt.publishAsync('plant/7/temp', body, { qos: 1 });
    const redis = new Redis(url.redis);
    stack.defer(async () => void (await redis.quit()));
    await redis.xadd('orders', '*', 'body', body);
    const greeted = await request(`${gateway.url}/greetings/ada`, { method: 'POST', body });
    expect(greeted.statusCode).toBe(200);

    for (const name of ['greet', 'orders', 'events', 'mail', 'sensors', 'entries', 'web']) {
      await expect.poll(async () => (await rows())[name]?.settled, { timeout: 30_000, message: name }).toBe(1);
    }
    await expect.poll(() => redis.xlen('orders.done'), { timeout: 10_000 }).toBe(1);
  }, 120_000);
});
