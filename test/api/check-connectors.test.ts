import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { connect as connectAmqp } from 'amqplib';
import { Redis } from 'ioredis';
import { connect as connectNats } from 'nats';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { loadConfig } from '../../core/config/load.ts';
import { probe } from '../../core/host/probe.ts';
import { builtIns, testDefaults } from '../support/gateway.ts';
import { describeWithBroker } from '../support/with-broker.ts';

const root = join(import.meta.dirname, '../..');
const anyName = (): string => `check-${randomUUID().slice(0, 8)}`;

function fileOf(connection: string, connector: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-check-'));
  const file = join(folder, 'millrace.yaml');
  writeFileSync(join(folder, 'work.mjs'), 'export default () => "";\n');
  writeFileSync(
    file,
    `gateway: { listen: { port: 0 }, management: { port: 0 } }
connections: { main: { ${connection} } }
functions: { work: { module: ./work.mjs } }
connectors: { jobs: { ${connector}, function: work } }
`,
  );
  return file;
}

/** What it says of the connector `jobs`: what a start would make, or why that would not work. */
async function check(connection: string, connector: string): Promise<readonly string[] | string> {
  const file = fileOf(connection, connector);
  const { config, problems } = await loadConfig(file, builtIns(), {
    ...testDefaults,
    providers: { worker: { kind: 'worker' } },
  });
  if (!config) throw new Error(problems.map(({ text }) => text).join('\n'));
  const probed = await probe(config, pino({ level: 'silent' }), dirname(file));
  const { missing = [], error } = probed.find(({ type }) => type === 'connector') ?? {};
  return error ? `${error.code}: ${error.message}` : missing;
}
const refused = (named: string): unknown => expect.stringMatching(new RegExp(`^config.invalid: .*${named}`));

await describeWithBroker('nats', 'millrace check --connect, of a connector jetstream', (url) => {
  it('says what its start would make, what is missing and what is different, and makes nothing', async () => {
    const nats = await connectNats({ servers: url });
    const manager = await nats.jetstreamManager();
    const stream = anyName();
    const ask = (more = '') =>
      check(`kind: nats, servers: "${url}"`, `kind: jetstream, stream: ${stream}, durable: d ${more}`);
    expect(await ask()).toEqual(refused(`there is no stream ${stream}`));
    await manager.streams.add({ name: stream, subjects: [stream] });
    expect(await ask()).toEqual([`the consumer d of the stream ${stream}`]);
    expect(await manager.consumers.list(stream).next()).toEqual([]);
    await manager.consumers.add(stream, { durable_name: 'd', ack_policy: 'explicit' as never, ack_wait: 5e9 });
    expect(await ask(', ackWait: 5s')).toEqual([]);
    expect(await ask()).toEqual(refused('ack_wait is 5000 ms, expected 30000 ms'));
    await manager.streams.delete(stream);
    await nats.close();
  }, 30_000);
});

await describeWithBroker('redis', 'millrace check --connect, of a connector redis', (url) => {
  it('says what its start would make, what is missing and what is no stream, and makes nothing', async () => {
    const redis = new Redis(url);
    const key = anyName();
    const ask = (more = '') => check(`kind: redis, url: "${url}"`, `kind: redis, stream: { key: ${key} ${more} }`);
    expect(await ask()).toEqual([`the group millrace of the stream ${key}`]);
    expect(await redis.exists(key)).toBe(0);
    expect(await ask(', create: false')).toEqual(refused('has no group millrace'));
    await redis.xgroup('CREATE', key, 'millrace', '0', 'MKSTREAM');
    expect(await ask()).toEqual([]);
    await redis.set(key, 'text');
    expect(await ask()).toEqual(refused('is no stream'));
    await redis.del(key);
    await redis.quit();
  }, 30_000);

  it('prints it', async () => {
    const key = anyName();
    const file = fileOf(`kind: redis, url: "${url}"`, `kind: redis, stream: { key: ${key} }`);
    const env = { PATH: process.env['PATH'], NO_COLOR: '1' };
    const args = ['core/main.ts', 'check', file, '--connect'];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, env });
    expect(stdout).toContain(`connector jobs (redis): ok, its start makes the group millrace of the stream ${key}\n`);
  }, 30_000);
});

await describeWithBroker('amqp', 'millrace check --connect, of a connector amqp', (url) => {
  it('says what its start would make, what is missing and what is different, and makes nothing', async () => {
    const client = await connectAmqp(url);
    const name = anyName();
    const ask = (more = '') => check(`kind: amqp, url: "${url}"`, `kind: amqp, queue: { name: ${name} ${more} }`);
    const bound = `, bind: [{ exchange: ${name}, key: k, declare: true }]`;
    const binding = `the binding of ${name} to ${name} by "k", unless it is there`;
    expect(await ask(bound)).toEqual([`the queue ${name}`, `the exchange ${name}`, binding]);
    // Neither was made: each is missing for who would not make it.
    expect(await ask(', declare: false')).toEqual(refused(`no queue ${name}`));
    expect(await ask(`, bind: [{ exchange: ${name} }]`)).toEqual(refused(`there is no exchange ${name}`));
    const channel = await client.createChannel();
    await channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    expect(await ask()).toEqual([]);
    expect(await ask(', type: classic')).toEqual(refused('x-queue-type'));
    await channel.deleteQueue(name);
    await client.close();
  }, 60_000);
});

await describeWithBroker('kafka', 'millrace check --connect, of a connector kafka', (url) => {
  it('says which topic is missing', async () => {
    const topic = anyName();
    const asked = await check(
      `kind: kafka, brokers: "${url}"`,
      `kind: kafka, subscribe: { topics: [${topic}], group: g }`,
    );
    expect(asked).toEqual(refused(`there is no topic ${topic}`));
  }, 30_000);
});

await describeWithBroker('mqtt', 'millrace check --connect, of a connector mqtt', (url) => {
  it('says what cannot be, and has no session of its own', async () => {
    const ask = (more: string) => check(`kind: mqtt, url: "${url}" ${more}`, 'kind: mqtt, subscribe: [{ topic: a }]');
    expect(await ask(', clientId: check')).toEqual([]);
    expect(await ask(', session: { clean: true }')).toEqual(refused('session.clean'));
  }, 30_000);
});
