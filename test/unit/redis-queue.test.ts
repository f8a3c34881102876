import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import type { Lease, StoredResult } from '../../core/contracts/queue.ts';
import { expectConserved } from '../../core/testing/queue-trial.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import type { RedisQueue } from '../../plugins/queues/redis/queue.ts';
import { redisConnection, redisQueue } from '../contract/redis-bench.ts';
import { startBroker, type OwnBroker } from '../support/brokers.ts';
import { plainMessage } from '../support/plain-message.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const lane = 'work.default';
const signal = new AbortController().signal;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function connect(server: OwnBroker, settings: object = {}): Promise<RedisConnection> {
  const connection = redisConnection(server.url, settings);
  cleanups.push(() => connection.stop());
  await connection.start();
  return connection;
}

async function open(connection: RedisConnection, name: string, settings: object = {}): Promise<RedisQueue> {
  const queue = redisQueue(connection, { name, ...settings });
  cleanups.push(() => queue.stop(1000));
  await queue.start();
  return queue;
}

function take(queue: RedisQueue, max: number, waitMs = 0, ttlMs = 60_000): Promise<Lease[]> {
  return queue.lease(lane, max, { ttlMs, waitMs, signal });
}

async function put(queue: RedisQueue): Promise<string> {
  const message = plainMessage(randomUUID());
  expect(await queue.enqueue([message])).toEqual([{ status: 'accepted', id: message.id }]);
  return message.id;
}

/** What a rejection says, and how long it took to say it. */
async function refusal(call: () => Promise<unknown>): Promise<{ error: unknown; ms: number }> {
  const startedAt = performance.now();
  const error = await call().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { error, ms: performance.now() - startedAt };
}

interface Holder {
  readonly child: ChildProcess;
  readonly line: () => Promise<string>;
}

/** A process of its own that leases one message for so long. */
function holder(server: OwnBroker, name: string, ttlMs: number): Holder {
  const file = join(import.meta.dirname, '../support/redis-queue-process.ts');
  const child = spawn(process.execPath, [file, server.url, name, String(ttlMs)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  cleanups.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, line: async () => String((await lines.next()).value) };
}

/** Ids that were accepted and are not known any more, and that were settled and have not succeeded. */
async function killWhileItWorks(
  serverSettings: readonly string[],
  queueSettings: object,
): Promise<{ queue: RedisQueue; unknown: string[]; undone: string[] }> {
  const server = await startBroker('redis', { settings: serverSettings });
  cleanups.push(() => server.dispose());
  const queue = await open(await connect(server), randomUUID(), queueSettings);
  const accepted = new Set<string>();
  const succeeded = new Set<string>();
  const over = new AbortController();
  const send = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const message = plainMessage(randomUUID(), { maxAttempts: 100 });
      const answer = await queue.enqueue([message]).catch(() => undefined);
      if (answer) accepted.add(message.id);
      else await sleep(5);
    }
  };
  const work = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const leases = await take(queue, 8, 50, 1000).catch(() => sleep(5).then((): Lease[] => []));
      for (const { receipt } of leases) {
        const answer = await queue.settle(receipt, { kind: 'ack' }).catch(() => undefined);
        if (answer === 'settled') succeeded.add(receipt.id);
      }
    }
  };
  const all = [...Array.from({ length: 8 }, send), ...Array.from({ length: 2 }, work)];
  for (let kill = 1; kill <= 3; kill++) {
    const [before, done] = [accepted.size, succeeded.size];
    await expect.poll(() => accepted.size - before, { timeout: 15_000 }).toBeGreaterThan(100);
    await expect.poll(() => succeeded.size - done, { timeout: 15_000 }).toBeGreaterThan(10);
    await server.kill();
    await server.restart();
  }
  over.abort();
  await Promise.all(all);
  const isBack = (): Promise<boolean> =>
    queue.lanes().then(
      () => true,
      () => false,
    );
  await expect.poll(isBack, { timeout: 10_000 }).toBe(true);
  const records = await Promise.all([...accepted].map(async (id) => ({ id, record: await queue.find(id) })));
  return {
    queue,
    unknown: records.filter(({ record }) => !record).map(({ id }) => id),
    undone: records.filter(({ id, record }) => succeeded.has(id) && record?.state !== 'succeeded').map(({ id }) => id),
  };
}

await describeWithOwnBroker('redis', 'queue redis, one server for several gateways', () => {
  let server: OwnBroker;
  beforeAll(async () => {
    server = await startBroker('redis');
  });
  afterAll(() => server.dispose());

  it('shares the work of two gateways, each message once', async () => {
    const name = randomUUID();
    const queues = [await open(await connect(server), name), await open(await connect(server), name)];
    const ids = await Promise.all(Array.from({ length: 60 }, () => put(queues[0] as RedisQueue)));
    const seen: string[][] = [[], []];
    await Promise.all(
      queues.map(async (queue, index) => {
        for (;;) {
          const [lease] = await take(queue, 1);
          if (!lease) return;
          seen[index]?.push(lease.message.id);
          expect(await queue.settle(lease.receipt, { kind: 'ack' })).toBe('settled');
        }
      }),
    );
    expect(seen.flat().toSorted()).toEqual(ids.toSorted());
    for (const part of seen) expect(part.length).toBeGreaterThan(0);
    for (const stats of (await queues[1]?.lanes()) ?? []) expectConserved(stats);
  });

  it('wakes who waits at the other gateway, for work and for an end', async () => {
    const name = randomUUID();
    const [one, other] = [await open(await connect(server), name), await open(await connect(server), name)];
    const waiting = take(one, 1, 20_000);
    const id = await put(other);
    const [lease] = await waiting;
    expect(lease?.message.id).toBe(id);
    const ended = other.finished(id, signal);
    if (lease) await one.settle(lease.receipt, { kind: 'ack' });
    expect(await ended).toMatchObject({ id, state: 'succeeded' });
  });

  it('finds work and ends by itself when the hints are lost', async () => {
    const connection = await connect(server);
    const deaf = Object.assign(Object.create(connection) as RedisConnection, { subscribe: () => () => {} });
    for (const method of ['durability', 'load', 'evaluate'] as const) {
      Object.assign(deaf, { [method]: connection[method].bind(connection) });
    }
    const name = randomUUID();
    const [queue, other] = [await open(deaf, name), await open(connection, name)];
    const waiting = take(queue, 1, 20_000);
    await queue.find('until the first look has been answered');
    const id = await put(other);
    const [lease] = await waiting;
    expect(lease?.message.id).toBe(id);
    const ended = queue.finished(id, signal);
    await queue.find('until the first look has been answered');
    if (lease) await other.settle(lease.receipt, { kind: 'ack' });
    expect(await ended).toMatchObject({ state: 'succeeded' });
  });

  it('hands over what a killed gateway had leased when its lease ends, with the attempt counted', async () => {
    const name = randomUUID();
    const queue = await open(await connect(server), name);
    const id = await put(queue);
    const { child, line } = holder(server, name, 2000);
    expect(await line()).toBe(`${id} 1`);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await queue.find(id)).toMatchObject({ state: 'running', attempt: 1 });
    const [lease] = await take(queue, 1, 20_000);
    expect([lease?.message.id, lease?.attempt]).toEqual([id, 2]);
    expect(await queue.find(id)).toMatchObject({ errors: [{ attempt: 1, code: 'function.crashed' }] });
  });

  it('changes nothing at the word of a gateway that was stopped past its lease', async () => {
    const name = randomUUID();
    const queue = await open(await connect(server), name);
    const id = await put(queue);
    const { child, line } = holder(server, name, 1000);
    expect(await line()).toBe(`${id} 1`);
    child.kill('SIGSTOP');
    const [lease] = await take(queue, 1, 20_000);
    expect(lease?.attempt).toBe(2);
    const before = await queue.find(id);
    child.kill('SIGCONT');
    child.stdin?.write('settle\n');
    expect(await line()).toBe('stale');
    expect(await queue.find(id)).toEqual(before);
    if (lease) expect(await queue.settle(lease.receipt, { kind: 'ack' })).toBe('settled');
    // The same holder in time is believed: the refusal above was for the lease, not for the holder.
    const next = await put(queue);
    const timely = holder(server, name, 30_000);
    expect(await timely.line()).toBe(`${next} 1`);
    timely.child.stdin?.write('settle\n');
    expect(await timely.line()).toBe('settled');
  });

  it('goes on when the server has forgotten the scripts', async () => {
    const connection = await connect(server);
    const queue = await open(connection, randomUUID());
    await put(queue);
    await connection.client.script('FLUSH');
    await put(queue);
    await connection.client.script('FLUSH');
    const [lease] = await take(queue, 1);
    await connection.client.script('FLUSH');
    if (lease) expect(await queue.settle(lease.receipt, { kind: 'ack' })).toBe('settled');
    expect((await queue.lanes())[0]?.totals).toMatchObject({ accepted: 2, succeeded: 1 });
  });

  it('is refused when a newer release wrote it, at the start and while it runs', async () => {
    const connection = await connect(server);
    const name = randomUUID();
    const queue = await open(connection, name);
    await put(queue);
    await connection.client.hset(`millrace:{${name}}:meta`, 'format', 99);
    const refused = { code: 'queue.format', message: expect.stringContaining('newer release') };
    await expect(queue.enqueue([plainMessage(randomUUID())])).rejects.toMatchObject(refused);
    await expect(open(connection, name)).rejects.toMatchObject(refused);
  });

  it('does all that is due, however much it is, little by little', async () => {
    const queue = await open(await connect(server), randomUUID());
    const messages = Array.from({ length: 450 }, () => plainMessage(randomUUID(), { delayMs: 1 }));
    await queue.enqueue(messages);
    await sleep(5);
    await expect
      .poll(async () => (await queue.lanes())[0], { timeout: 20_000, interval: 10 })
      .toMatchObject({ ready: 450, delayed: 0 });
    expect((await take(queue, 256)).length + (await take(queue, 256)).length).toBe(450);
  });

  it('keeps bodies and results of every size, also where the one is written over the other', async () => {
    const queue = await open(await connect(server), randomUUID());
    const sizes = [0, 1, 256, 257, 512, 513, 5000];
    const pairs = sizes.flatMap((body) => sizes.map((result) => ({ id: randomUUID(), body, result })));
    const bytes = (size: number, fill: string): Uint8Array => new Uint8Array(Buffer.alloc(size, fill));
    await queue.enqueue(pairs.map(({ id, body }) => plainMessage(id, { body: bytes(body, 'b') })));
    const leases = await take(queue, pairs.length);
    expect(leases.map(({ message }) => message.body)).toEqual(pairs.map(({ body }) => bytes(body, 'b')));
    const resultOf = (size: number): StoredResult => ({ status: 200, headers: { x: '\n' }, body: bytes(size, '\n') });
    const settled = leases.map(({ receipt }, index) =>
      queue.settle(receipt, { kind: 'ack', result: resultOf(pairs[index]?.result ?? 0) }),
    );
    expect(await Promise.all(settled)).toEqual(pairs.map(() => 'settled'));
    const records = await Promise.all(pairs.map(({ id }) => queue.find(id)));
    expect(records.map((record) => record?.result)).toEqual(pairs.map(({ result }) => resultOf(result)));
    expect(records.map((record) => record?.envelope.callId)).toEqual(pairs.map(({ id }) => id));
  });

  it('keeps the body of a dead letter, whatever its size', async () => {
    const queue = await open(await connect(server), randomUUID());
    for (const size of [0, 512, 513]) {
      const body = new Uint8Array(Buffer.alloc(size, 'b'));
      await queue.enqueue([plainMessage(randomUUID(), { body })]);
      const [lease] = await take(queue, 1);
      const { receipt } = lease as Lease;
      await queue.settle(receipt, { kind: 'retry', delayMs: 0, error: { code: 'x', message: 'once' } });
      const [again] = await take(queue, 1);
      expect([again?.attempt, again?.message.body]).toEqual([2, body]);
      const error = { code: 'x', message: 'twice' };
      await queue.settle((again as Lease).receipt, { kind: 'dead', reason: 'permanent', error });
      expect(await queue.deadLetters.body(receipt.id)).toEqual(body);
      expect(await queue.deadLetters.replay(receipt.id, { id: randomUUID() })).toBe(true);
      const [replayed] = await take(queue, 1);
      expect([replayed?.attempt, replayed?.message.body]).toEqual([1, body]);
      await queue.settle((replayed as Lease).receipt, { kind: 'ack' });
      expect(await queue.deadLetters.body(receipt.id)).toBeUndefined();
    }
  });

  it('keeps keys apart that are not well-formed text', async () => {
    const queue = await open(await connect(server), randomUUID());
    const keys = ['\ud800', '\ud801', '', '\u0000', 'ü'];
    const messages = keys.map((key) =>
      plainMessage(randomUUID(), { orderKey: key, dedupKey: key, dedupWindowMs: 60_000 }),
    );
    expect((await queue.enqueue(messages)).map(({ status }) => status)).toEqual(keys.map(() => 'accepted'));
    const leases = await take(queue, 9);
    expect(leases.map(({ message }) => message.orderKey)).toEqual(keys);
  });
});

await describeWithOwnBroker('redis', 'queue redis, when the server is away', () => {
  it('refuses at once, loses nothing that was accepted, and goes on by itself', async () => {
    const server = await startBroker('redis');
    cleanups.push(() => server.dispose());
    const connection = await connect(server);
    const queue = await open(connection, randomUUID());
    const id = await put(queue);
    await server.kill();
    const { error, ms } = await refusal(() => queue.enqueue([plainMessage(randomUUID())]));
    expect(error).toMatchObject({ code: 'queue.unavailable', retryAfterSeconds: expect.any(Number) });
    expect(ms).toBeLessThan(2000);
    await expect(queue.find(id)).rejects.toMatchObject({ code: 'queue.unavailable' });
    await expect
      .poll(() => connection.health())
      .toMatchObject({ state: 'reconnecting', lastError: expect.any(String) });
    await server.restart();
    const startedAt = performance.now();
    // A lease whose answer was lost with the connection ends soon, and is given again.
    await expect.poll(() => take(queue, 1, 0, 2000), { timeout: 10_000, interval: 50 }).toHaveLength(1);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(connection.health()).toMatchObject({ state: 'connected', reconnects: 1 });
  });

  it('goes on with a wait that began before', async () => {
    const server = await startBroker('redis');
    cleanups.push(() => server.dispose());
    const queue = await open(await connect(server), randomUUID());
    const waiting = take(queue, 1, 25_000);
    // The look goes out after the first of these, on the same connection: it has been answered before the second.
    await queue.find('none');
    await queue.find('none');
    await server.kill();
    await server.restart();
    let id: string | undefined;
    await expect
      .poll(
        async () => {
          id ??= await put(queue).catch(() => undefined);
          return id;
        },
        { timeout: 10_000, interval: 50 },
      )
      .toBeTypeOf('string');
    expect((await waiting)[0]?.message.id).toBe(id);
  });

  it('takes a server that says nothing for gone, within its time, and comes back to it', async () => {
    const server = await startBroker('redis');
    cleanups.push(() => server.dispose());
    const queue = await open(await connect(server, { commandTimeout: '500ms' }), randomUUID());
    const id = await put(queue);
    server.pause();
    cleanups.push(() => server.resume());
    const first = await refusal(() => queue.enqueue([plainMessage(randomUUID())]));
    expect(first.error).toMatchObject({ code: 'queue.unavailable' });
    expect(first.ms).toBeLessThan(5000);
    const second = await refusal(() => queue.enqueue([plainMessage(randomUUID())]));
    expect(second.error).toMatchObject({ code: 'queue.unavailable' });
    expect(second.ms).toBeLessThan(400);
    server.resume();
    await expect.poll(() => put(queue).catch(() => 'away'), { timeout: 10_000, interval: 50 }).not.toBe('away');
    const ids = (await take(queue, 9)).map(({ message }) => message.id);
    expect(ids).toContain(id);
  });

  it('has kept all that it accepted when the server was killed again and again while it worked', async () => {
    const { queue, unknown, undone } = await killWhileItWorks(['appendfsync always'], {});
    expect({ unknown, undone }).toEqual({ unknown: [], undone: [] });
    for (const stats of await queue.lanes()) expectConserved(stats);
  }, 90_000);

  it('has lost some of it when the server keeps no file: the test above would see that', async () => {
    const { unknown } = await killWhileItWorks(['appendonly no'], { allowVolatile: true });
    expect(unknown).not.toEqual([]);
  }, 90_000);

  it('refuses to accept when the server has no memory left, and can be emptied all the same', async () => {
    const server = await startBroker('redis');
    cleanups.push(() => server.dispose());
    const connection = await connect(server);
    const queue = await open(connection, randomUUID());
    const ids = [await put(queue), await put(queue)];
    await connection.client.config('SET', 'maxmemory', '1mb');
    await expect(queue.enqueue([plainMessage(randomUUID())])).rejects.toMatchObject({
      code: 'queue.unavailable',
      message: expect.stringContaining('OOM'),
    });
    const leases = await take(queue, 9);
    expect(leases.map(({ message }) => message.id)).toEqual(ids);
    for (const { receipt } of leases) expect(await queue.settle(receipt, { kind: 'ack' })).toBe('settled');
    for (const stats of await queue.lanes()) expectConserved(stats);
  });
});
