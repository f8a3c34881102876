import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ran } from '../support/plugins/inline.ts';
import {
  add,
  connectorOf,
  counterOf,
  done,
  gateway,
  gatewayProcess,
  groupOf,
  letters,
  pending,
  poll,
  readersOf,
  setUp,
} from '../support/redis-world.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

await describeWithOwnBroker('redis', 'connector redis, when something breaks', () => {
  it('keeps an entry for as long as its function runs, ten times the patience of the others', async () => {
    const { server, redis } = await setUp();
    const busy = await gatewayProcess(server, server.folder, 'function: slow, claimIdle: 500ms, consumer: a');
    await redis.xadd('jobs', '*', 'body', '5000');
    await poll(() => pending(redis)).toMatchObject([{ consumer: 'a' }]);
    const idle = await gateway(server, 'function: record, claimIdle: 500ms, consumer: b');
    await done(redis);
    expect(ran).toEqual([]);
    expect(await counterOf(idle, 'received')).toBe(0);
    const metrics = await (await fetch(`${busy.management}/metrics`)).text();
    expect(metrics).toMatch(/millrace_redis_received_total\{[^}]*\} 1/);
    expect(metrics).toMatch(/millrace_redis_acknowledged_total\{[^}]*\} 1/);
  }, 20_000);

  it('hands back at a stop what has not ended, as not begun, and leaves the group when nothing is', async () => {
    const { server, redis } = await setUp();
    const first = await gateway(server, 'function: never, consumer: a, claimIdle: 1m');
    await add(redis, 3);
    await poll(async () => (await connectorOf(first))['inFlight']).toBe(3);
    await first.gateway.stop(50);
    expect(await pending(redis)).toMatchObject(Array.from({ length: 3 }, () => ({ consumer: 'a', count: 0 })));
    const second = await gateway(server, 'function: record, consumer: b, claimIdle: 1m');
    await done(redis);
    expect(ran.toSorted()).toEqual(['n0', 'n1', 'n2']);
    expect(await counterOf(second, 'redelivered')).toBe(0);
    await second.gateway.stop(50);
    expect(await groupOf(redis)).toMatchObject({ consumers: 1 });
  });

  it('has after a restart what it was given before, at once', async () => {
    const { server, redis } = await setUp();
    const crashed = await gatewayProcess(server, server.folder, 'function: slow, consumer: a, claimIdle: 1h');
    await redis.xadd('jobs', '*', 'body', '60000');
    await poll(() => pending(redis).catch(() => [])).toHaveLength(1);
    crashed.child.kill('SIGKILL');
    await crashed.ended;
    const running = await gateway(server, 'function: record, consumer: a, claimIdle: 1h');
    await done(redis);
    expect(ran).toEqual(['60000']);
    expect(await counterOf(running, 'redelivered')).toBe(1);
  });

  it('takes over what a killed gateway had', async () => {
    const { server, redis } = await setUp();
    const killed = await gatewayProcess(server, server.folder, 'function: slow, consumer: a, claimIdle: 1s');
    for (let n = 0; n < 3; n++) await redis.xadd('jobs', '*', 'body', '60000');
    await poll(() => pending(redis).catch(() => [])).toHaveLength(3);
    const running = await gateway(server, 'function: record, consumer: b, claimIdle: 1s');
    killed.child.kill('SIGKILL');
    await done(redis);
    expect(ran).toEqual(['60000', '60000', '60000']);
    expect(await counterOf(running, 'redelivered')).toBe(3);
    expect(await counterOf(running, 'acknowledged')).toBe(3);
  });

  it('changes nothing for those who have an entry by now, when it has slept through its time', async () => {
    const { server, redis } = await setUp();
    const sleeper = await gatewayProcess(server, server.folder, 'function: slow, consumer: a, claimIdle: 1s');
    await redis.xadd('jobs', '*', 'body', '1500');
    await poll(() => pending(redis).catch(() => [])).toMatchObject([{ consumer: 'a' }]);
    sleeper.child.kill('SIGSTOP');
    const running = await gateway(server, 'function: never, consumer: b, claimIdle: 1s');
    await poll(() => pending(redis)).toMatchObject([{ consumer: 'b', count: 2 }]);
    sleeper.child.kill('SIGCONT');
    const metrics = async (): Promise<string> => (await fetch(`${sleeper.management}/metrics`)).text();
    await poll(metrics).toMatch(/millrace_redis_stale_total\{[^}]*\} 1/);
    expect(await metrics()).not.toMatch(/millrace_redis_acknowledged_total\{[^}]*\} 1/);
    expect(await pending(redis)).toMatchObject([{ consumer: 'b', count: 2 }]);
    expect(await connectorOf(running)).toMatchObject({ inFlight: 1 });
  });

  it.each([
    ['given again under its own name', 'a', [], 2],
    ['given to another one, uncounted', 'b', ['JUSTID'], 1],
  ] as const)('settles nothing that has been %s', async (_name, consumer, options, count) => {
    const { server, redis } = await setUp();
    const running = await gateway(server, 'function: slow, consumer: a, claimIdle: 1h');
    await add(redis, 1);
    await poll(async () => (await connectorOf(running))['inFlight']).toBe(1);
    const [{ id } = { id: '' }] = await pending(redis);
    await redis.call('XCLAIM', 'jobs', 'millrace', consumer, 0, id, ...options);
    await poll(() => counterOf(running, 'stale')).toBe(1);
    expect(await pending(redis)).toMatchObject([{ id, consumer, count }]);
  });

  it.each([
    ['source.received', 20],
    ['source.before-ack', 20],
    ['source.after-ack', 0], // All of them may have been acknowledged together.
  ] as const)('loses nothing when it is killed at %s', async (point, leastLeft) => {
    const { server, redis } = await setUp();
    const bodies = await add(redis, 20);
    const connector = 'function: ledger, consumer: a, claimIdle: 1h';
    const killed = gatewayProcess(server, server.folder, connector, { MILLRACE_FAIL: `${point}:1` });
    // It may be killed before it says that it is ready.
    expect(await killed.then(({ ended }) => ended, String)).toContain('SIGKILL');
    const left = (await pending(redis)).length;
    expect(left).toBeGreaterThanOrEqual(leastLeft);
    await gatewayProcess(server, server.folder, connector);
    await done(redis);
    const runs = readFileSync(join(server.folder, 'ledger'), 'utf8').trim().split('\n');
    expect(runs.length).toBeGreaterThanOrEqual(bodies.length);
    expect(runs.length).toBeLessThanOrEqual(bodies.length + left);
  });

  it('loses nothing and goes on by itself when the server is killed while it works', async () => {
    const { server, redis } = await setUp(['appendfsync always']);
    const running = await gateway(server, 'function: record, claimIdle: 2s');
    const confirmed: string[] = [];
    const producer = (async () => {
      for (let n = 0; n < 3000; n++) {
        const body = `b${n}`;
        await redis.xadd('jobs', '*', 'body', body).then(
          () => confirmed.push(body),
          () => undefined,
        );
      }
    })();
    await poll(() => ran.length).toBeGreaterThan(200);
    await server.kill();
    await poll(async () => (await connectorOf(running))['state']).toBe('reconnecting');
    await server.restart();
    await producer;
    await redis.xadd('jobs', '*', 'body', 'after');
    await poll(() => ran.includes('after')).toBe(true);
    await done(redis);
    expect(confirmed.length).toBeGreaterThan(1000);
    const all = new Set(ran);
    expect(confirmed.filter((body) => !all.has(body))).toEqual([]);
    expect(await connectorOf(running)).toMatchObject({ state: 'running', reconnects: 1 });
    // What was under way at the kill, at most.
    expect(ran.length - all.size).toBeLessThanOrEqual(100);
  }, 60_000);

  it('reads on when the server has not answered for longer than it was asked to wait', async () => {
    const { server, redis } = await setUp();
    const running = await gateway(server, 'function: record');
    await add(redis, 1, 'before');
    await done(redis);
    const before = await readersOf(redis);
    expect(before).toHaveLength(1);
    server.pause();
    await poll(async () => (await connectorOf(running))['lastError']).toBeDefined();
    server.resume();
    await add(redis, 1, 'after');
    await done(redis);
    expect(ran).toEqual(['before0', 'after0']);
    const after = await readersOf(redis);
    expect(after).toHaveLength(1);
    expect(after).not.toEqual(before);
  }, 30_000);

  it('has its connection for reading replaced, and counts no attempt of what it has meanwhile', async () => {
    const { server, redis } = await setUp();
    const running = await gateway(server, 'function: slow, rateLimit: { limit: 1, per: 3s }');
    await add(redis, 2);
    await poll(async () => (await connectorOf(running))['settled']).toBe(1);
    const [reader = ''] = await readersOf(redis);
    await redis.client('KILL', 'ID', reader);
    await poll(async () => (await readersOf(redis)).filter((id) => id !== reader)).toHaveLength(1);
    // It reads again only after it has looked for what a lost answer gave it.
    await add(redis, 1, 'more');
    await poll(() => pending(redis)).toHaveLength(2);
    expect(await pending(redis)).toMatchObject([{ count: 1 }, { count: 1 }]);
    expect(await counterOf(running, 'redelivered')).toBe(0);
    expect(await counterOf(running, 'stale')).toBe(0);
  });

  it('counts the entries that somebody removed before they were run', async () => {
    const { server, redis } = await setUp();
    await redis.xgroup('CREATE', 'jobs', 'millrace', '0', 'MKSTREAM');
    await add(redis, 4);
    await redis.xreadgroup('GROUP', 'millrace', 'dead', 'COUNT', 4, 'STREAMS', 'jobs', '>');
    const [first, second] = await pending(redis);
    await redis.xdel('jobs', first?.id ?? '', second?.id ?? '');
    const running = await gateway(server, 'function: record, claimIdle: 200ms');
    await done(redis);
    expect(ran).toEqual(['n2', 'n3']);
    expect(await counterOf(running, 'lost_upstream')).toBe(2);
  });

  it('runs what was removed from the stream when it had it already', async () => {
    const { server, redis } = await setUp();
    const running = await gateway(server, 'function: slow, claimIdle: 100ms');
    await add(redis, 1);
    await poll(async () => (await connectorOf(running))['inFlight']).toBe(1);
    await redis.xtrim('jobs', 'MAXLEN', 0);
    await poll(async () => (await connectorOf(running))['settled']).toBe(1);
    expect(await counterOf(running, 'lost_upstream')).toBe(0);
    expect(await pending(redis)).toEqual([]);
  });

  it.each(['all', 'new'])(
    'makes a group anew that is gone with everything else, and misses nothing (%s)',
    async (start) => {
      const { server, redis } = await setUp();
      const running = await gateway(server, 'function: record', `key: jobs, start: ${start}`);
      await add(redis, 2, 'first');
      await done(redis);
      await redis.multi().flushall().xadd('jobs', '*', 'body', 'second').exec();
      await done(redis);
      await add(redis, 1, 'third');
      await done(redis);
      expect(ran.toSorted()).toEqual(['first0', 'first1', 'second', 'third0']);
      expect(await connectorOf(running)).toMatchObject({ state: 'running' });
    },
  );

  it('takes an entry of a stream that was made anew for another one, though its id is that of one that is here', async () => {
    const { server, redis } = await setUp();
    const running = await gateway(server, 'function: slow');
    await redis.xadd('jobs', '1-1', 'body', 'old');
    await poll(async () => (await connectorOf(running))['inFlight']).toBe(1);
    await redis.multi().flushall().xadd('jobs', '1-1', 'body', 'new').exec();
    await done(redis);
    await poll(() => counterOf(running, 'acknowledged')).toBe(1);
    expect(await counterOf(running, 'received')).toBe(2);
    expect(await counterOf(running, 'stale')).toBe(1);
  });

  it('dead-letters an entry that ends every gateway that takes it', async () => {
    const { server, redis } = await setUp();
    await redis.xgroup('CREATE', 'jobs', 'millrace', '0', 'MKSTREAM');
    await add(redis, 1, 'poison');
    await redis.xreadgroup('GROUP', 'millrace', 'dead', 'STREAMS', 'jobs', '>');
    const [{ id } = { id: '' }] = await pending(redis);
    await redis.xclaim('jobs', 'millrace', 'dead', 0, id);
    // Given twice, which is what its function's policy allows.
    const running = await gateway(server, 'function: fail, claimIdle: 200ms');
    await done(redis);
    expect(await letters(running)).toMatchObject([{ reason: 'crashed' }]);
  });
});
