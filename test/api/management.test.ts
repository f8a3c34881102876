import { PassThrough, Writable } from 'node:stream';
import { request } from 'undici';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EventStream } from '../../core/api/event-stream.ts';
import { apiRoutes } from '../../core/api/management.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import { kill, leaseOne, message, startApi, type TestApi } from './api-server.ts';

let api: TestApi;
let first: Queue;
let second: Queue;
beforeEach(async () => {
  api = await startApi();
  first = api.queues.get('default') as Queue;
  second = api.queues.get('second') as Queue;
});
afterEach(() => api.close());

test('queues of every level have a row', async () => {
  api.state.rooms = [{ function: 'echo.openfaas-fn', waiting: 3, running: 4, oldestAgeMs: 250 }];
  await first.enqueue([message(), message({ delayMs: 60_000 })]);
  const { json } = await api.send('GET', '/system/queues');
  expect(json).toEqual([
    expect.objectContaining({
      level: 'gateway',
      name: 'echo.openfaas-fn',
      ready: 3,
      leased: 4,
      oldestAgeSeconds: 0.25,
    }),
    expect.objectContaining({
      level: 'function',
      name: 'echo.openfaas-fn',
      queue: 'default',
      ready: 1,
      delayed: 1,
      blocked: 0,
      dead: 0,
      paused: false,
      durability: 'memory',
    }),
    // Nobody has called it yet.
    expect.objectContaining({ level: 'function', name: 'slow.openfaas-fn', queue: 'default', ready: 0, dead: 0 }),
    expect.objectContaining({ level: 'provider', name: 'pool', provider: 'worker', ready: 2, leased: 4 }),
  ]);
});

test('pausing by the short name stops leases until resume', async () => {
  await first.enqueue([message()]);
  const paused = await api.send('POST', '/system/queues/echo/pause');
  expect(paused.json).toEqual({ name: 'echo.openfaas-fn', queues: ['default'], paused: true });
  await expect(leaseOne(first)).rejects.toThrow('nothing to lease');
  await api.send('POST', '/system/queues/echo.openfaas-fn/resume');
  await leaseOne(first);
});

test('a queue that does not exist is 404 with what was meant', async () => {
  const { status, json } = await api.send('POST', '/system/queues/ecko/pause');
  expect([status, json.error.code]).toEqual([404, 'queue.unknown']);
  expect(json.error.message).toContain('did you mean "echo.openfaas-fn"?');
});

test('dead letters of two queues are one list, newest first, page by page, none twice and none missing', async () => {
  const expected: string[] = [];
  for (let index = 0; index < 23; index++) {
    expected.unshift(await kill(index % 3 === 0 ? second : first));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  for (const limit of [1, 2, 5, 7, 23, 50]) {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const query: string = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const { json } = await api.send('GET', `/system/dead-letters?limit=${limit}${query}`);
      expect(json.items.length).toBeLessThanOrEqual(limit);
      seen.push(...json.items.map(({ id }: { id: string }) => id));
      cursor = json.cursor;
    } while (cursor !== undefined);
    expect(seen, `limit ${limit}`).toEqual(expected);
  }
});

test('pages go on where they were although letters come and go', async () => {
  const ids: string[] = [];
  for (let index = 0; index < 6; index++) {
    ids.unshift(await kill(index % 2 === 0 ? first : second));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const { json: page } = await api.send('GET', '/system/dead-letters?limit=3');
  await kill(first);
  await api.send('DELETE', `/system/dead-letters/${ids[0]}`);
  const { json: next } = await api.send('GET', `/system/dead-letters?limit=3&cursor=${page.cursor}`);
  expect(next.items.map(({ id }: { id: string }) => id)).toEqual(ids.slice(3));
  expect(next.cursor).toBeUndefined();
});

test('dead letters are filtered by function and reason', async () => {
  const id = await kill(first);
  await kill(first, { lane: 'slow.openfaas-fn' });
  const { json } = await api.send('GET', '/system/dead-letters?function=echo&reason=max_attempts');
  expect(json.items.map((letter: { id: string }) => letter.id)).toEqual([id]);
  expect((await api.send('GET', '/system/dead-letters?reason=loop')).json.items).toEqual([]);
});

test('a dead letter shows its errors and hides what would let a reader act as the sender', async () => {
  const base = message();
  const headers = {
    authorization: 'Bearer canary-1',
    cookie: 'session=canary-2',
    'x-api-key': 'canary-3',
    'x-hub-signature': 'canary-4',
    'x-order': '7',
  };
  const id = await kill(first, { envelope: { ...base.envelope, headers } });
  for (const path of [`/system/dead-letters/${id}`, '/system/dead-letters']) {
    const { text } = await api.send('GET', path);
    expect(text).not.toContain('canary');
    expect(text).toContain('"x-order":"7"');
  }
  const { json } = await api.send('GET', `/system/dead-letters/${id}`);
  expect(json).toMatchObject({
    id,
    function: 'echo.openfaas-fn',
    queue: 'default',
    reason: 'max_attempts',
    bodyBytes: 5,
  });
  expect(json.errors[0]).toMatchObject({ attempt: 1, code: 'function.failed', message: 'it threw', status: 500 });
  await api.send('POST', `/system/dead-letters/${id}/replay`);
  const { message: replayed } = await leaseOne(first);
  expect(replayed.envelope.headers).toEqual(headers);
});

test('the body of a dead letter is a download, never a page', async () => {
  const body = Buffer.from('<script>alert(1)</script>');
  const base = message();
  const headers = { 'content-type': 'text/html' };
  const id = await kill(first, { body, envelope: { ...base.envelope, headers } });
  const answer = await api.send('GET', `/system/dead-letters/${id}/body`);
  expect(answer.bytes).toEqual(body);
  expect(answer.headers).toMatchObject({
    'content-type': 'application/octet-stream',
    'content-disposition': `attachment; filename="${id}.bin"`,
    'x-content-type-options': 'nosniff',
  });
});

test('a replay may change function, headers and body', async () => {
  const id = await kill(second);
  const { status, json, headers } = await api.send('POST', `/system/dead-letters/${id}/replay`, {
    json: {
      to: 'slow',
      headers: { 'X-Fixed': 'yes', 'Content-Type': null },
      bodyBase64: Buffer.from([0, 255]).toString('base64'),
    },
  });
  expect([status, headers['location']]).toEqual([202, `/invocations/${json.id}`]);
  const { message: replayed } = await leaseOne(second, 'slow.openfaas-fn');
  expect([...replayed.body]).toEqual([0, 255]);
  expect(replayed.envelope.headers).toEqual({ 'x-fixed': 'yes' });
  expect((await api.send('GET', `/invocations/${json.id}`)).json.replayOf).toBe(id);
  expect((await api.send('POST', `/system/dead-letters/${id}/replay`)).status).toBe(404);
});

test('a replay to nowhere, or with a header that breaks the line, changes nothing', async () => {
  const id = await kill(first);
  for (const [json, status] of [
    [{ to: 'ecko' }, 404],
    [{ to: 'callback.millrace' }, 404],
    [{ headers: { 'x-a': 'b\r\nc: d' } }, 400],
    [{ headers: { 'x a': 'b' } }, 400],
    [{ body: 'a', bodyBase64: 'YQ==' }, 400],
    [{ bodyBase64: '***' }, 400],
  ] as const) {
    const answer = await api.send('POST', `/system/dead-letters/${id}/replay`, { json });
    expect(answer.status, JSON.stringify(json)).toBe(status);
  }
  expect((await api.send('GET', `/system/dead-letters/${id}`)).status).toBe(200);
});

test('a bulk replay runs the oldest first and leaves what is over the limit for the next', async () => {
  const ids: string[] = [];
  for (let index = 0; index < 5; index++) {
    ids.push(await kill(first, { body: Buffer.from(String(index)) }));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const { json } = await api.send('POST', '/system/dead-letters/replay', { json: { function: 'echo', limit: 3 } });
  expect(json).toEqual({ total: 3, replayed: 3, failed: [], left: 2 });
  const order: string[] = [];
  for (let index = 0; index < 3; index++) order.push((await leaseOne(first)).message.envelope.replayOf ?? '');
  expect(order).toEqual(ids.slice(0, 3));
  const again = await api.send('POST', '/system/dead-letters/replay', { json: { all: true } });
  expect(again.json).toMatchObject({ replayed: 2, left: 0 });
});

test('a bulk replay tells its progress in lines, and names what failed', async () => {
  await kill(first);
  const stuck = await kill(second);
  second.deadLetters.replay = () => Promise.reject(new Error('disk full'));
  const answer = await api.send('POST', '/system/dead-letters/replay', {
    json: { all: true },
    headers: { accept: 'application/x-ndjson' },
  });
  const lines = answer.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines[0]).toEqual({ done: false, total: 2, replayed: 0, failures: 0 });
  expect(lines.at(-1)).toMatchObject({ done: true, total: 2, replayed: 1, left: 0 });
  expect(lines.at(-1).failed).toMatchObject([{ id: stuck, message: 'disk full' }]);
  expect((await api.send('GET', `/system/dead-letters/${stuck}`)).status).toBe(200);
});

test('deleting needs a filter, or all said in words', async () => {
  await kill(first);
  await kill(second, { lane: 'slow.openfaas-fn' });
  expect((await api.send('DELETE', '/system/dead-letters')).status).toBe(400);
  expect((await api.send('DELETE', '/system/dead-letters?all=1')).status).toBe(400);
  expect((await api.send('DELETE', '/system/dead-letters?function=slow')).json).toEqual({ purged: 1 });
  expect((await api.send('DELETE', '/system/dead-letters?all=true')).json).toEqual({ purged: 1 });
  expect((await api.send('DELETE', '/system/dead-letters/x')).json.error.code).toBe('dead-letter.unknown');
});

test('functions have the fields that OpenFaaS clients read, and no secrets', async () => {
  const { json, text } = await api.send('GET', '/system/functions');
  expect(json[0]).toMatchObject({
    name: 'echo',
    namespace: 'openfaas-fn',
    image: './echo.ts',
    replicas: 1,
    availableReplicas: 1,
    invocationCount: 0,
    labels: { faas_function: 'echo' },
    annotations: {},
  });
  expect(text).not.toContain('SECRET');
  expect((await api.send('GET', '/system/functions?namespace=other')).text).toBe('[]');
  expect((await api.send('GET', '/system/function/echo?namespace=openfaas-fn&usage=1')).json.name).toBe('echo');
  expect((await api.send('GET', '/system/function/ecko')).json.error.message).toContain('did you mean');
  const info = await api.send('GET', '/system/info');
  expect(info.json.provider.version.release).toBe(info.json.version.release);
  expect(info.json.version.sha).not.toBe('');
});

test('health and readiness; what failed is named, and why is not told to strangers', async () => {
  expect((await api.send('GET', '/healthz')).text).toBe('OK');
  expect((await api.send('GET', '/readyz')).status).toBe(200);
  api.state.ready = {
    ready: false,
    failed: [{ name: 'orders', kind: 'kafka', error: 'password wrong for kafka://user@host' }],
    draining: [{ name: 'default', kind: 'sqlite', reason: '/secret/path has 3 MiB left' }],
  };
  const { status, json } = await api.send('GET', '/readyz');
  const failed = [{ name: 'orders', kind: 'kafka' }];
  const draining = [{ name: 'default', kind: 'sqlite' }];
  expect([status, json]).toEqual([503, { ready: false, failed, draining, connections: [] }]);
});

test('a broker that is away is named, leaves the gateway ready, and why is told to managers only', async () => {
  const row = { name: 'main', kind: 'nats', state: 'reconnecting', reconnects: 2, lastError: 'ECONNREFUSED 10.0.0.7' };
  api.state.connections = [row];
  const { status, json } = await api.send('GET', '/readyz');
  const connections = [{ name: 'main', kind: 'nats', state: 'reconnecting' }];
  expect([status, json]).toEqual([200, { ready: true, failed: [], draining: [], connections }]);
  expect((await api.send('GET', '/system/connections')).json).toEqual([row]);
});

test('connectors tell how they fare', async () => {
  const row = { name: 'http', kind: 'http', state: 'running', inFlight: 1, credit: 100, reconnects: 0, settled: 7 };
  api.state.connectors = [row];
  expect((await api.send('GET', '/system/connectors')).json).toEqual([row]);
});

test('events are streamed as they happen, filtered by function and type, until the listener closes', async () => {
  const answer = await request(`${api.url}/system/events?function=echo&type=invocation.dead,plugin.failed`);
  expect(answer.headers['content-type']).toBe('text/event-stream; charset=utf-8');
  let text = '';
  const ended = (async () => {
    for await (const chunk of answer.body) text += String(chunk);
  })();
  await expect.poll(() => api.events.observed).toBe(true);
  api.events.next({ type: 'invocation.dead', at: 0, id: 'a', function: 'echo.openfaas-fn' });
  api.events.next({ type: 'invocation.dead', at: 0, id: 'b', function: 'slow.openfaas-fn' });
  api.events.next({ type: 'invocation.started', at: 0, id: 'c', function: 'echo.openfaas-fn' });
  await expect.poll(() => text).toContain('"id":"a"');
  await api.server.close();
  await ended;
  expect(text).toContain(
    'event: invocation.dead\ndata: {"type":"invocation.dead","at":"1970-01-01T00:00:00.000Z","id":"a"',
  );
  expect(text).not.toMatch(/"id":"[bc]"/);
  expect(api.events.observed).toBe(false);
});

test('a client that goes away is forgotten', async () => {
  const answer = await request(`${api.url}/system/events`);
  await expect.poll(() => api.events.observed).toBe(true);
  answer.body.on('error', () => undefined).destroy();
  await expect.poll(() => api.events.observed).toBe(false);
});

test('a slow reader loses the oldest events and is told how many', async () => {
  const written: string[] = [];
  let release: (() => void) | undefined;
  const out = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk.toString());
      if (release) done();
      else release = done;
    },
  });
  const stream = new EventStream(out, 10);
  for (let index = 0; index < 500; index++) stream.send({ type: 'invocation.started', at: 0, id: String(index) });
  release?.();
  await expect.poll(() => written.length).toBeGreaterThan(2);
  // Every further write is "full" too, so the rest comes one drain at a time.
  await expect.poll(() => written.at(-1)).toContain('"id":"499"');
  const dropped = written
    .filter((text) => text.startsWith('event: dropped'))
    .map((text) => JSON.parse(text.split('data: ')[1] ?? ''));
  const told = dropped.reduce((sum: number, { count }: { count: number }) => sum + count, 0);
  expect(told + written.filter((text) => text.includes('invocation.started')).length).toBe(500);
  expect(told).toBeGreaterThanOrEqual(480);
});

test('a thousand events to a client that does not read take no more than the bound', () => {
  const stuck = new PassThrough({ highWaterMark: 1 });
  const stream = new EventStream(stuck, 10);
  for (let index = 0; index < 1000; index++) stream.send({ type: 'invocation.started', at: 0, id: String(index) });
  stream.heartbeat();
  expect(stuck.writableLength + stuck.readableLength).toBeLessThan(1000);
});

test('the OpenAPI document names every route, and every route that it names answers', async () => {
  const { json } = await api.send('GET', '/system/openapi.json');
  expect(json.openapi).toBe('3.1.0');
  const documented = Object.entries(json.paths as Record<string, Record<string, unknown>>).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(documented.toSorted()).toEqual(apiRoutes.map(({ method, path }) => `${method} ${path}`).toSorted());
  const operationIds = Object.values(json.paths as Record<string, Record<string, { operationId: string }>>)
    .flatMap((methods) => Object.values(methods))
    .map(({ operationId }) => operationId);
  expect(new Set(operationIds).size).toBe(operationIds.length);
  for (const entry of documented) {
    const [method = '', path = ''] = entry.split(' ');
    if (/events|figures/.test(path)) continue; // Go on for ever; tested elsewhere.
    const answer = await api.send(method, path.replaceAll(/\{\w+\}/g, 'x'));
    const operation = json.paths[path][method.toLowerCase()];
    expect(Object.keys(operation.responses), `${entry} answered ${answer.status}`).toContain(String(answer.status));
    expect(answer.json?.error?.message ?? '', entry).not.toContain('no route');
  }
});
