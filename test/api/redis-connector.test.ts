import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { redisConnectorConfig } from '../../connectors/redis/config.ts';
import { ran, ranHeaders } from '../support/plugins/inline.ts';
import { add, bodyOf, connectorOf, counterOf, done, gateway, letters, poll, setUp } from '../support/redis-world.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const run = promisify(execFile);

await describeWithOwnBroker('redis', 'connector redis, streams', () => {
  it('runs each entry once, from the first one that the stream holds, and acknowledges it', async () => {
    const { server, redis } = await setUp();
    const before = await add(redis, 20, 'before');
    const running = await gateway(server, 'function: record');
    const after = await add(redis, 300, 'after');
    await done(redis);
    expect(ran.toSorted()).toEqual([...before, ...after].toSorted());
    await poll(() => connectorOf(running)).toMatchObject({ state: 'running', settled: 320, inFlight: 0, lag: 0 });
    expect(await counterOf(running, 'acknowledged')).toBe(320);
    expect(await counterOf(running, 'redelivered')).toBe(0);
  });

  it('reads several streams, more than it has credit for', async () => {
    const { server, redis } = await setUp();
    await gateway(server, 'function: record, credit: 2', 'keys: [a, b, c]');
    const bodies = await Promise.all(['a', 'b', 'c'].map((key) => add(redis, 20, key, key)));
    for (const key of ['a', 'b', 'c']) await done(redis, key);
    expect(ran.toSorted()).toEqual(bodies.flat().toSorted());
    expect(new Set(ranHeaders.map((headers) => headers['x-topic']))).toEqual(new Set(['a', 'b', 'c']));
  });

  it('takes what redis-cli adds, and tells the function what it is as a CloudEvent', async () => {
    const { server, redis } = await setUp();
    await gateway(server, 'function: record, ack: enqueued');
    const { port } = new URL(server.url);
    const add = ['-p', port, 'XADD', 'jobs', '*', 'X-Trace', 'yes', 'who', 'Zoë', 'payload', '{"n":1}'];
    const { stdout } = await run('redis-cli', add);
    await done(redis);
    await poll(() => ran).toEqual(['{"n":1}']);
    const id = stdout.trim();
    expect(ranHeaders[0]).toMatchObject({
      'x-trace': 'yes',
      who: 'Zo%C3%AB',
      'x-connector': 'redis',
      'x-topic': 'jobs',
      'x-redis-stream': 'jobs',
      'x-redis-id': id,
      'ce-id': `jobs:${id}`,
      'ce-source': '/connectors/jobs',
      'ce-type': 'millrace.redis.message',
      'ce-subject': 'jobs',
      'ce-time': new Date(Number(id.split('-')[0])).toISOString(),
    });
  });

  it('leaves what failed in the queue, in the end as a dead letter with its bytes', async () => {
    const { server, redis } = await setUp();
    const running = await gateway(server, 'function: fail');
    const precious = randomBytes(500);
    await redis.xadd('jobs', '*', 'body', precious);
    await done(redis);
    await poll(async () => (await letters(running)).length).toBe(1);
    const [letter] = await letters(running);
    expect(letter).toMatchObject({ attempt: 2, reason: 'max_attempts' });
    expect((await bodyOf(running, letter?.id)).equals(precious)).toBe(true);
  });

  it('gives an entry again that its function had no room for, as the same attempt', async () => {
    const { server, redis } = await setUp();
    const running = await gateway(server, 'function: busy, claimIdle: 200ms');
    await add(redis, 3);
    await done(redis);
    expect(await counterOf(running, 'received')).toBe(3);
    expect(await counterOf(running, 'acknowledged')).toBe(3);
    expect(await letters(running)).toEqual([]);
  });

  it('begins where it is told', async () => {
    const { server, redis } = await setUp();
    for (const ms of [1000, 2000, 3000, 4000]) await redis.xadd('jobs', `${ms}-7`, 'body', `at${ms}`);
    const firstOf = async (start: string, group: string): Promise<string[]> => {
      ran.length = 0;
      const running = await gateway(server, 'function: record', `key: jobs, group: ${group}, start: ${start}`);
      await redis.xadd('jobs', '*', 'body', `end of ${group}`);
      await poll(() => ran).toContain(`end of ${group}`);
      await running.gateway.stop(100);
      return ran.slice(0, -1);
    };
    expect(await firstOf('new', 'one')).toEqual([]);
    expect((await firstOf('{ id: 3000-7 }', 'two')).slice(0, 1)).toEqual(['at4000']);
    expect((await firstOf('{ id: 3000-6 }', 'three')).slice(0, 2)).toEqual(['at3000', 'at4000']);
    expect((await firstOf('{ time: "1970-01-01T00:00:02Z" }', 'four')).slice(0, 2)).toEqual(['at2000', 'at3000']);
  });

  it('refuses what it cannot work with, in one sentence', async () => {
    const { server, redis } = await setUp();
    const failureOf = async (stream: string): Promise<string> =>
      String((await connectorOf(await gateway(server, 'function: record', stream)))['lastError']);
    await redis.set('text', 'no stream');
    expect(await failureOf('key: text')).toContain('text is no stream');
    expect(await failureOf('key: jobs, create: false')).toContain('jobs has no group millrace: make it (redis-cli');
    expect(await redis.exists('jobs')).toBe(0);
    await redis.xgroup('CREATE', 'jobs', 'millrace', '0', 'MKSTREAM');
    expect(await failureOf('key: jobs, create: false')).toBe('undefined');
  });
});

await describeWithOwnBroker('redis', 'connector redis, channels', () => {
  it('runs a message once, whichever of its channels and patterns it fits, and goes on when the server was killed', async () => {
    const { server, redis } = await setUp();
    const settings = 'delivery: at-most-once, channels: [news], patterns: ["w*", "weather.?", "n*"], function: record';
    const running = await gateway(server, settings, '');
    await poll(async () => (await connectorOf(running))['state']).toBe('running');
    await redis.publish('news', 'one');
    await redis.publish('weather.x', 'two');
    await redis.publish('other', 'never');
    await redis.publish('nothing', 'three');
    await poll(() => ran.toSorted()).toEqual(['one', 'three', 'two']);
    expect(ranHeaders.map((headers) => String(headers['ce-subject'])).toSorted()).toEqual([
      'news',
      'nothing',
      'weather.x',
    ]);
    await server.kill();
    await poll(async () => (await connectorOf(running))['state']).toBe('reconnecting');
    await server.restart();
    await poll(async () => (await connectorOf(running))['state']).toBe('running');
    await redis.publish('news', 'four');
    await poll(() => ran).toContain('four');
    expect(ran).toHaveLength(4);
  });

  it('drops and counts what there is no room for, and what is too large', async () => {
    const { server, redis } = await setUp();
    const settings = 'delivery: at-most-once, channels: [news], credit: 1, buffer: 2, function: never';
    const running = await gateway(server, settings, '');
    await poll(async () => (await connectorOf(running))['state']).toBe('running');
    for (let n = 0; n < 5; n++) await redis.publish('news', String(n));
    await redis.publish('news', 'x'.repeat(20_000));
    await poll(() => counterOf(running, 'dropped')).toBe(3);
    expect(await connectorOf(running)).toMatchObject({ inFlight: 1, lag: 2 });
  });

  it('counts what failed', async () => {
    const { server, redis } = await setUp();
    const running = await gateway(server, 'delivery: at-most-once, channels: [news], function: fail', '');
    await poll(async () => (await connectorOf(running))['state']).toBe('running');
    await redis.publish('news', 'x');
    await poll(() => counterOf(running, 'failed')).toBe(1);
  });
});

describe('settings of a connector of Redis', () => {
  const problemsOf = (settings: unknown): string[] =>
    (redisConnectorConfig.safeParse(settings).error?.issues ?? []).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );
  it('are those of a stream or those of channels', () => {
    expect(problemsOf({})).toEqual([': needs either stream or channels and patterns']);
    expect(problemsOf({ stream: { key: 'a' }, channels: ['b'], delivery: 'at-most-once' })).toEqual([
      ': needs either stream or channels and patterns, not both',
    ]);
    expect(problemsOf({ stream: { key: 'a' }, buffer: 1 })).toEqual(['buffer: is a setting of channels only']);
    expect(problemsOf({ channels: ['a'], delivery: 'at-most-once', claimIdle: '1s' })).toEqual([
      'claimIdle: is a setting of streams only',
    ]);
    expect(problemsOf({ stream: { key: 'a', keys: ['a'] } })).toEqual(['stream: needs either key or keys']);
    expect(problemsOf({ stream: { keys: ['a', 'a'] } })).toEqual(['stream.keys: names a stream twice']);
  });
  it('say of channels what Redis promises', () => {
    expect(problemsOf({ channels: ['a'] })[0]).toMatch(
      /^delivery: must be "at-most-once", written out: Redis keeps no/,
    );
    expect(problemsOf({ channels: ['a'], delivery: 'at-least-once' })[0]).toMatch(/^delivery: must be "at-most-once"/);
    expect(problemsOf({ patterns: ['a*'], delivery: 'at-most-once' })).toEqual([]);
  });
});
