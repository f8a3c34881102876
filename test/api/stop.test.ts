import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { Redis } from 'ioredis';
import { Client, request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import { sqliteConfig } from '../../plugins/queues/sqlite/index.ts';
import { SqliteQueue } from '../../plugins/queues/sqlite/queue.ts';
import { eventually, testGateway } from '../support/gateway.ts';
import { ran } from '../support/plugins/inline.ts';
import { quietHost } from '../support/quiet-host.ts';
import { describeWithBroker } from '../support/with-broker.ts';

const yaml = (file: string) => `
gateway: { listen: { port: 0 }, management: { port: 0 } }
queues: { default: { kind: sqlite, path: ${file} } }
functions:
  slow: { behaviour: slow }
  never: { behaviour: never, invoke: { timeout: 60s, concurrency: 2 } }
`;
const newFile = () => join(mkdtempSync(join(tmpdir(), 'millrace-stop-')), 'queue.db');
const post = (url: string, path: string) => request(`${url}${path}`, { method: 'POST', body: 'x' });

/** What `heeds` saw. */
const aborted = 'AbortError: the attempt was aborted: stopping';

describe('a gateway that is told to stop', () => {
  it('answers the calls that are in flight, and takes no more', async () => {
    const { gateway, url } = await testGateway(yaml(newFile()));
    const inFlight = Array.from({ length: 5 }, () => post(url, '/function/slow'));
    const rows = async () => (await (await request(`${url}/system/queues`)).body.json()) as Record<string, unknown>[];
    await eventually(async () => ((await rows()).some(({ leased }) => leased === 5) ? true : undefined));
    const stopping = gateway.stop(10_000);
    for (const { statusCode, body } of await Promise.all(inFlight)) {
      expect([statusCode, await body.text()]).toEqual([200, 'slow but sure']);
    }
    await stopping;
    await expect(post(url, '/function/slow')).rejects.toThrow();
  });

  it('tells that it leaves, and serves on while whoever sends calls takes to notice', async () => {
    const { gateway, url } = await testGateway(
      yaml(newFile()).replace('gateway: {', 'gateway: { shutdown: { notice: 1s },'),
    );
    const client = new Client(url);
    const call = async (path: string) => {
      const { statusCode, headers, body } = await client.request({ method: 'POST', path, body: 'x' });
      return [statusCode, await body.text(), headers['connection']];
    };
    expect(await call('/function/slow')).toEqual([200, 'slow but sure', 'keep-alive']);
    const stopping = gateway.stop(10_000);
    expect((await request(`${url}/readyz`)).statusCode).toBe(503);
    // It has to be told before its connection ends: what it sends just then is lost.
    expect(await call('/function/slow')).toEqual([200, 'slow but sure', 'close']);
    expect((await call('/async-function/slow'))[0]).toBe(202);
    await stopping;
    await expect(post(url, '/function/slow')).rejects.toThrow();
    await client.close();
  });

  it('lets queued work that runs finish, and keeps the rest for the next one', async () => {
    const file = newFile();
    const first = await testGateway(yaml(file));
    const { headers } = await post(first.url, '/async-function/slow');
    const id = String(headers['x-invocation-id']);
    await first.gateway.stop(10_000);
    const second = await testGateway(yaml(file));
    const record = (await (await request(`${second.url}/invocations/${id}?wait=10s`)).body.json()) as Record<
      string,
      unknown
    >;
    expect([record['state'], Number(record['attempt'])]).toEqual(['succeeded', 1]);
    await second.gateway.stop(1000);
  });

  it('hands back what does not finish by the drain deadline, as if it had not been begun', async () => {
    const file = newFile();
    const first = await testGateway(yaml(file));
    const ids = await Promise.all(
      Array.from({ length: 4 }, async () =>
        String((await post(first.url, '/async-function/never')).headers['x-invocation-id']),
      ),
    );
    const stateOf = async (url: string, id: string) => {
      const { state, attempt } = (await (await request(`${url}/invocations/${id}`)).body.json()) as Record<
        string,
        unknown
      >;
      return `${String(state)} ${String(attempt)}`;
    };
    await eventually(async () => ((await stateOf(first.url, ids[0] ?? '')) === 'running 1' ? true : undefined));
    await first.gateway.stop(100);
    // Straight from the file: another gateway would lease them at once.
    const queue = new SqliteQueue(sqliteConfig.parse({ path: file }), quietHost(systemClock));
    await queue.start();
    for (const id of ids) expect(await queue.find(id)).toMatchObject({ state: 'queued', attempt: 0, errors: [] });
    await queue.stop(1000);
  });

  it('may be told twice', async () => {
    const { gateway } = await testGateway(yaml(newFile()));
    await Promise.all([gateway.stop(1000), gateway.stop(1000)]);
    await gateway.stop(1000);
  });
});

await describeWithBroker('redis', 'a gateway that is told to stop while messages of a broker run', (url) => {
  let redis: Redis;
  beforeAll(() => void (redis = new Redis(url)));
  afterAll(() => redis.quit());

  it.each([
    ['one by one', '', ['begun a', 'begun b', aborted, aborted]],
    ['in order', ', order: { key: topic }', ['begun a', aborted]],
    ['in batches', ', batch: { size: 2, window: 1m }', [expect.stringContaining('begun [{'), aborted]],
  ])(
    'tells what has not ended by the drain deadline, and the next one gets all of it, %s',
    async (_how, more, seen) => {
      const key = `stop-${randomUUID()}`;
      const start = (name: string) =>
        testGateway(`
connections: { main: { kind: redis, url: "${url}" } }
functions: { heeds: { behaviour: heeds, invoke: { timeout: 1m } }, record: { behaviour: record } }
connectors: { jobs: { kind: redis, stream: { key: ${key} }, consumer: one, function: ${name} ${more} } }`);
      ran.length = 0;
      const first = await start('heeds');
      for (const body of ['a', 'b']) await redis.xadd(key, '*', 'body', body);
      const pending = async () => (await redis.xpending(key, 'millrace'))[0];
      await expect.poll(pending, { timeout: 15_000 }).toBe(2);
      await expect.poll(() => ran.length, { timeout: 15_000 }).toBe(seen.filter((each) => each !== aborted).length);
      await first.gateway.stop(100);
      expect(ran).toEqual(seen);
      expect(await pending()).toBe(2);
      ran.length = 0;
      await using _second = await start('record');
      await expect.poll(pending, { timeout: 15_000 }).toBe(0);
      expect(ran.join()).toMatch(more.includes('batch') ? /"a".*"b"/ : /^a,b$/);
      await redis.del(key);
    },
  );
});
