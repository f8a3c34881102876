import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Queue } from '../../core/contracts/queue.ts';
import { createId } from '../../core/delivery/ids.ts';
import { kill, leaseOne, message, startApi, type TestApi } from './api-server.ts';

let api: TestApi;
let queue: Queue;
beforeEach(async () => {
  api = await startApi();
  queue = api.queues.get('default') as Queue;
});
afterEach(() => api.close());

async function accepted(overrides: Parameters<typeof message>[0] = {}): Promise<string> {
  const made = message(overrides);
  await queue.enqueue([made]);
  return made.id;
}

test('the state of an invocation has the documented fields', async () => {
  const id = await accepted();
  const { status, json } = await api.send('GET', `/invocations/${id}`);
  expect(status).toBe(200);
  expect(json).toMatchObject({
    id,
    callId: `call-${id}`,
    function: 'echo.openfaas-fn',
    state: 'queued',
    attempt: 0,
    startedAt: null,
    finishedAt: null,
    result: null,
    error: null,
  });
  expect(new Date(json.acceptedAt).toISOString()).toBe(json.acceptedAt);
});

test('a delayed invocation says when it begins', async () => {
  const id = await accepted({ delayMs: 60_000 });
  const { json } = await api.send('GET', `/invocations/${id}`);
  expect(json.state).toBe('delayed');
  expect(Date.parse(json.nextAttemptAt)).toBeGreaterThan(Date.now() + 30_000);
});

test('a failed attempt is shown with the error of each', async () => {
  const id = await accepted();
  const { receipt } = await leaseOne(queue);
  const error = { code: 'function.failed', message: 'boom', status: 500 };
  await queue.settle(receipt, { kind: 'retry', delayMs: 60_000, error });
  const { json } = await api.send('GET', `/invocations/${id}`);
  expect(json).toMatchObject({ state: 'failed', attempt: 1, error: { code: 'function.failed', message: 'boom' } });
  expect(json.errors).toHaveLength(1);
});

test('the result has the status, headers and bytes of the function, without those of the connection', async () => {
  const id = await accepted();
  const { receipt } = await leaseOne(queue);
  const body = Buffer.from([0, 1, 2, 255]);
  const headers = { 'x-mine': 'yes', connection: 'x-mine', 'content-length': '999', 'set-cookie': ['a=1', 'b=2'] };
  await queue.settle(receipt, { kind: 'ack', result: { status: 418, headers, body } });
  const { status, headers: got, bytes } = await api.send('GET', `/invocations/${id}/result`);
  expect(status).toBe(418);
  expect(bytes).toEqual(body);
  expect(got).toMatchObject({
    'x-mine': 'yes',
    'content-length': '4',
    'content-type': 'text/plain',
    'x-invocation-id': id,
    'set-cookie': ['a=1', 'b=2'],
  });
  expect(got['x-openfaas-internal']).toBeUndefined();
  const { json } = await api.send('GET', `/invocations/${id}`);
  expect(json).toMatchObject({ state: 'succeeded', result: { status: 418, bytes: 4 }, error: null });
});

test('a stored header that cannot be sent is a 502 and no crash', async () => {
  const id = await accepted();
  const { receipt } = await leaseOne(queue);
  const headers = { 'x-bad': 'a\r\nset-cookie: evil=1' };
  await queue.settle(receipt, { kind: 'ack', result: { status: 200, headers, body: Buffer.from('x') } });
  const answer = await api.send('GET', `/invocations/${id}/result`);
  expect(answer.status).toBe(502);
  expect(answer.json.error.code).toBe('function.bad-response');
  expect(answer.headers['set-cookie']).toBeUndefined();
});

test('an unfinished invocation has no result yet: 409 and when to ask again', async () => {
  const id = await accepted();
  const answer = await api.send('GET', `/invocations/${id}/result`);
  expect(answer.status).toBe(409);
  expect(answer.json.error.code).toBe('invocation.unfinished');
  expect(answer.headers['retry-after']).toBe('1');
});

test('waiting answers as soon as it has finished', async () => {
  const id = await accepted();
  const waiting = api.send('GET', `/invocations/${id}/result?wait=20s`);
  const { receipt } = await leaseOne(queue);
  await queue.settle(receipt, { kind: 'ack', result: { status: 200, headers: {}, body: Buffer.from('late') } });
  expect((await waiting).text).toBe('late');
});

test('a wait that ends first answers with the state as it is', async () => {
  const id = await accepted();
  const { status, json } = await api.send('GET', `/invocations/${id}?wait=50ms`);
  expect(status).toBe(200);
  expect(json.state).toBe('queued');
});

test('closing the listener ends long polls', async () => {
  const id = await accepted();
  const waiting = api.send('GET', `/invocations/${id}?wait=60s`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const began = performance.now();
  await api.server.close();
  expect((await waiting).json.state).toBe('queued');
  expect(performance.now() - began).toBeLessThan(5000);
});

test('a dead letter without an answer gives its last error as a server error', async () => {
  const id = await kill(queue);
  const { json } = await api.send('GET', `/invocations/${id}`);
  expect(json).toMatchObject({ state: 'dead', reason: 'max_attempts', error: { message: 'it threw' } });
  const result = await api.send('GET', `/invocations/${id}/result`);
  expect(result.status).toBe(500);
  expect(result.json).toEqual({ error: { code: 'function.failed', message: 'it threw' } });
});

test('a dead letter with an answer of the function gives that', async () => {
  const id = await accepted();
  const { receipt } = await leaseOne(queue);
  const result = { status: 422, headers: { 'content-type': 'application/problem+json' }, body: Buffer.from('{}') };
  const error = { code: 'function.failed', message: 'status 422', status: 422 };
  await queue.settle(receipt, { kind: 'dead', reason: 'permanent', error, result });
  const answer = await api.send('GET', `/invocations/${id}/result`);
  expect([answer.status, answer.text]).toEqual([422, '{}']);
});

test('cancelling: what waits never runs, twice is once, what runs is told, what finished stays', async () => {
  const waiting = await accepted();
  expect((await api.send('DELETE', `/invocations/${waiting}`)).json).toEqual({ id: waiting, state: 'cancelled' });
  expect((await api.send('DELETE', `/invocations/${waiting}`)).status).toBe(202);
  expect((await api.send('GET', `/invocations/${waiting}/result`)).json.error.code).toBe('invocation.cancelled');

  const running = await accepted();
  const { receipt } = await leaseOne(queue);
  const asked = await api.send('DELETE', `/invocations/${running}`);
  expect([asked.status, asked.json]).toEqual([202, { id: running, state: 'running', cancelling: true }]);
  await queue.settle(receipt, { kind: 'cancelled' });

  const done = await accepted();
  const { receipt: last } = await leaseOne(queue);
  await queue.settle(last, { kind: 'ack' });
  const refused = await api.send('DELETE', `/invocations/${done}`);
  expect([refused.status, refused.json.error.code]).toEqual([409, 'invocation.finished']);
});

test('a success whose result is not kept is gone', async () => {
  const id = await accepted();
  const { receipt } = await leaseOne(queue);
  await queue.settle(receipt, { kind: 'ack' });
  expect((await api.send('GET', `/invocations/${id}/result`)).status).toBe(410);
});

test('what has outlived its lifetime is gone: state, result and cancellation', async () => {
  const id = await accepted({ resultTtlMs: 20 });
  const { receipt } = await leaseOne(queue);
  await queue.settle(receipt, { kind: 'ack', result: { status: 200, headers: {}, body: Buffer.from('x') } });
  await new Promise((resolve) => setTimeout(resolve, 60));
  for (const [method, path] of [
    ['GET', `/invocations/${id}`],
    ['GET', `/invocations/${id}/result`],
    ['DELETE', `/invocations/${id}`],
  ] as const) {
    const answer = await api.send(method, path);
    expect([answer.status, answer.json.error.code], `${method} ${path}`).toEqual([410, 'invocation.gone']);
  }
});

test('an id that nobody has is 404, whatever it looks like', async () => {
  for (const id of [createId(Date.now()), 'x', '%00', '..%2f..%2fetc', '__proto__', 'a'.repeat(200)]) {
    const answer = await api.send('GET', `/invocations/${id}`);
    expect([answer.status, answer.json.error.code], id).toEqual([404, 'invocation.unknown']);
  }
});

test('an invocation on any queue is found', async () => {
  const second = api.queues.get('second') as Queue;
  const made = message();
  await second.enqueue([made]);
  expect((await api.send('GET', `/invocations/${made.id}`)).status).toBe(200);
  expect((await api.send('GET', `/invocations/${made.id}?wait=20ms`)).json.state).toBe('queued');
});

test('a wait that is no duration is refused', async () => {
  const id = await accepted();
  for (const wait of ['', '30', 'soon', '-5s', '1s%0d%0aX-Evil:1']) {
    const answer = await api.send('GET', `/invocations/${id}?wait=${wait}`);
    expect([answer.status, answer.json.error.code], wait).toEqual([400, 'request.invalid']);
  }
});
