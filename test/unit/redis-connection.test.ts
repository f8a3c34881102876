import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import { redisConnectionConfig } from '../../plugins/connections/redis/index.ts';
import { redisConnection, redisQueue } from '../contract/redis-bench.ts';
import { startBroker, type OwnBroker } from '../support/brokers.ts';
import { freePorts } from '../support/brokers/ports.ts';
import { plainMessage } from '../support/plain-message.ts';
import { quietHost } from '../support/quiet-host.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const signal = new AbortController().signal;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function redis(...settings: string[]): Promise<OwnBroker> {
  const server = await startBroker('redis', { settings });
  cleanups.push(() => server.dispose());
  return server;
}

function connection(url: string, settings: object = {}): RedisConnection {
  const made = redisConnection(url, settings);
  cleanups.push(() => made.stop());
  return made;
}

const safe = { allowVolatile: false, declared: undefined };

await describeWithOwnBroker('redis', 'connection redis', () => {
  it('refuses wrong credentials at once, whatever the time to wait, and takes the right ones', async () => {
    const server = await redis('requirepass s3cret', 'user millrace on >pa55 ~* &* +@all');
    for (const settings of [{ password: 'wrong' }, {}, { username: 'millrace', password: 'wrong' }]) {
      const started = connection(server.url, { connectTimeout: '1h', ...settings }).start();
      await expect(started).rejects.toMatchObject({ code: 'config.invalid' });
      await expect(started).rejects.not.toMatchObject({ message: expect.stringContaining('wrong') });
    }
    for (const settings of [{ password: 's3cret' }, { username: 'millrace', password: 'pa55' }]) {
      const right = connection(server.url, settings);
      await right.start();
      expect(right.health()).toEqual({ state: 'connected', reconnects: 0, lastError: undefined });
    }
  });

  it('tells no password, neither in its log nor in what it throws', async () => {
    const server = await redis('requirepass s3cret');
    const lines: string[] = [];
    const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
    const config = redisConnectionConfig.parse({ url: server.url, password: 'hunter2' });
    const made = new RedisConnection(config, { ...quietHost(systemClock), logger });
    const error: unknown = await made.start().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'config.invalid' });
    logger.error({ err: error }, 'refused');
    expect(lines.join('')).toContain('WRONGPASS');
    expect(lines.join('')).not.toContain('hunter2');
  });

  it('waits for a server that is away for as long as it is told, and tells why it did not come', async () => {
    const server = await redis();
    await server.kill();
    const started = connection(server.url, { connectTimeout: '300ms' }).start();
    await expect(started).rejects.toMatchObject({
      code: 'connection.unavailable',
      message: expect.stringContaining('ECONNREFUSED'),
    });
    const patient = connection(server.url, { connectTimeout: '20s' });
    const [, health] = await Promise.all([server.restart(), patient.start().then(() => patient.health())]);
    expect(health).toMatchObject({ state: 'connected' });
  });

  it('ends the wait when the gateway stops', async () => {
    const server = await redis();
    await server.kill();
    const abort = new AbortController();
    const host = { ...quietHost(systemClock), signal: abort.signal };
    const made = new RedisConnection(redisConnectionConfig.parse({ url: server.url, connectTimeout: '1h' }), host);
    const started = made.start();
    abort.abort();
    await expect(started).rejects.toMatchObject({ code: 'gateway.stopping' });
    const late = new RedisConnection(redisConnectionConfig.parse({ url: server.url, connectTimeout: '1h' }), host);
    await expect(late.start()).rejects.toMatchObject({ code: 'gateway.stopping' });
  });

  it('speaks TLS with a server whose authority it is told, and refuses another one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-tls-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const subject = ['-subj', '/CN=redis.test', '-addext', 'subjectAltName=DNS:redis.test'];
    const options = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert];
    execFileSync('openssl', [...options, ...subject], { stdio: 'ignore' });
    const [port] = await freePorts(1);
    await redis('port 0', `tls-port ${port}`, `tls-cert-file ${cert}`, `tls-key-file ${key}`, 'tls-auth-clients no');
    const url = `rediss://127.0.0.1:${port}`;
    const ca = readFileSync(cert, 'utf8');
    const made = connection(url, { tls: { ca, serverName: 'redis.test' } });
    await made.start();
    expect(await made.durability(safe)).toBe('page-cache');
    for (const tls of [{ serverName: 'redis.test' }, { ca, serverName: 'other.test' }]) {
      await expect(connection(url, { tls, connectTimeout: '1h' }).start()).rejects.toMatchObject({
        code: 'config.invalid',
      });
    }
  });
});

await describeWithOwnBroker('redis', 'durability of Redis', () => {
  const cases = [
    { settings: ['appendfsync always'], durability: 'disk' },
    { settings: [], durability: 'page-cache' },
    { settings: ['appendfsync no'], durability: 'page-cache' },
    { settings: ['appendonly no'], refusal: 'appendonly no' },
    { settings: ['maxmemory-policy allkeys-lru'], refusal: 'maxmemory-policy allkeys-lru' },
    { settings: ['maxmemory-policy volatile-ttl'], refusal: 'maxmemory-policy volatile-ttl' },
  ] as const;
  for (const { settings, ...expected } of cases) {
    it(`with ${settings.join() || 'appendfsync everysec'}: ${Object.values(expected).join()}`, async () => {
      const made = connection((await redis(...settings)).url);
      await made.start();
      if ('durability' in expected) {
        expect(await made.durability(safe)).toBe(expected.durability);
        return;
      }
      await expect(made.durability(safe)).rejects.toMatchObject({
        code: 'config.invalid',
        message: expect.stringMatching(new RegExp(`127\\.0\\.0\\.1:\\d+.*${expected.refusal}.*allowVolatile: true`)),
      });
      expect(await made.durability({ ...safe, allowVolatile: true })).toBe('memory');
      const name = randomUUID();
      await expect(redisQueue(made, { name }).start()).rejects.toMatchObject({ code: 'config.invalid' });
      const volatile = redisQueue(made, { name, allowVolatile: true });
      await volatile.start();
      expect(volatile.durability).toBe('memory');
      await volatile.stop(1000);
    });
  }

  it('asks the operator where the settings may not be read, and believes no more than they say', async () => {
    const server = await redis('user hosted on nopass ~* &* +@all -config');
    const made = connection(server.url, { username: 'hosted', password: 'any' });
    await made.start();
    await expect(made.durability(safe)).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('durability: page-cache'),
    });
    expect(await made.durability({ ...safe, declared: 'disk' })).toBe('disk');
    const readable = connection(server.url);
    await readable.start();
    await expect(readable.durability({ ...safe, declared: 'disk' })).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('appendfsync everysec'),
    });
  });
});

await describeWithOwnBroker('redis', 'a cluster of Redis', () => {
  it('keeps each queue on one node, and is as durable as its weakest', async () => {
    const [bus, otherBus] = await freePorts(2);
    const nodes = [
      await redis('cluster-enabled yes', `cluster-port ${bus}`, 'appendfsync always'),
      await redis('cluster-enabled yes', `cluster-port ${otherBus}`, 'appendfsync everysec'),
    ];
    const [one, other] = await Promise.all(
      nodes.map(async ({ url }) => {
        const made = connection(url);
        await made.start();
        return made;
      }),
    );
    if (!one || !other) throw new Error('two were started');
    await one.client.cluster('ADDSLOTSRANGE', 0, 8191);
    await other.client.cluster('ADDSLOTSRANGE', 8192, 16383);
    const [first, second] = nodes.map(({ url }) => new URL(url));
    if (!first || !second) throw new Error('two were started');
    await one.client.cluster('MEET', second.hostname, Number(second.port), Number(otherBus));
    for (const { client } of [one, other]) {
      await expect.poll(() => client.cluster('INFO'), { timeout: 20_000 }).toContain('cluster_state:ok');
      await expect.poll(() => client.cluster('INFO'), { timeout: 20_000 }).toContain('cluster_known_nodes:2');
    }
    const config = redisConnectionConfig.parse({ nodes: [first.host] });
    const cluster = new RedisConnection(config, quietHost(systemClock));
    cleanups.push(() => cluster.stop());
    await cluster.start();
    expect(await cluster.durability(safe)).toBe('page-cache');
    // Of so many names some fall on each node.
    const names = Array.from({ length: 8 }, () => randomUUID());
    for (const name of names) {
      const queue = redisQueue(cluster, { name });
      await queue.start();
      const waiting = queue.lease('work.default', 1, { ttlMs: 60_000, waitMs: 20_000, signal });
      const message = plainMessage(randomUUID(), { orderKey: 'k', dedupKey: 'd', dedupWindowMs: 60_000 });
      expect(await queue.enqueue([message])).toEqual([{ status: 'accepted', id: message.id }]);
      const [lease] = await waiting;
      expect(lease?.message.id).toBe(message.id);
      const result = { status: 200, headers: {}, body: new Uint8Array([1]) };
      if (lease) expect(await queue.settle(lease.receipt, { kind: 'ack', result })).toBe('settled');
      expect(await queue.finished(message.id, signal)).toMatchObject({ state: 'succeeded', result });
      await queue.stop(1000);
    }
    for (const { client } of [one, other]) expect(await client.dbsize()).toBeGreaterThan(0);
  });
});
