import { lookup } from 'node:dns/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from 'undici';
import { callbackFunctionOf } from '../../core/delivery/callback.ts';
import { narrow, ran, ranHeaders } from '../support/plugins/inline.ts';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';

let running: TestGateway;
const yaml = `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  limits: { body: 100KiB, asyncBody: 10KiB, inFlight: 50 }
  callbacks: { allow: [127.0.0.1], retry: { attempts: 3, backoff: { kind: fixed, initial: 20ms, jitter: none } }, secret: "callback-secret" }
policies: { retry: { quick: { attempts: 2, backoff: { kind: fixed, initial: 20ms, jitter: none } } } }
functions:
  echo: { behaviour: echo }
  after: { behaviour: echo }
  recorded: { behaviour: echo, invoke: { onSuccess: [{ function: receive }] } }
  chained: { behaviour: echo, invoke: { onSuccess: [{ function: after }] } }
  fail: { behaviour: fail, invoke: { retry: quick } }
  never: { behaviour: never, invoke: { timeout: 300ms, concurrency: 1, waiting: 1 } }
  throws: { behaviour: throws }
  streams: { behaviour: streams }
  other.elsewhere: { behaviour: echo }
  receive: { behaviour: record }
  narrow: { behaviour: narrow, invoke: { concurrency: 32, retry: { attempts: 100, backoff: { kind: fixed, initial: 5ms, jitter: none } } } }
`;
beforeAll(async () => {
  running = await testGateway(yaml);
});
afterAll(() => running[Symbol.asyncDispose]());

const call = (path: string, init: Partial<Parameters<typeof request>[1]> = {}) =>
  request(`${running.url}${path}`, { method: 'POST', ...init });
const recordOf = async (id: unknown, wait = '5s') =>
  (await (await request(`${running.url}/invocations/${String(id)}?wait=${wait}`)).body.json()) as Record<
    string,
    unknown
  >;

describe('a synchronous call', () => {
  it.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'] as const)(
    '%s reaches the function',
    async (method) => {
      const { statusCode, headers, body } = await call('/function/echo', { method });
      expect(statusCode).toBe(200);
      expect(headers['x-call-id']).toMatch(/^[0-9A-Z]{26}$/);
      await body.dump();
    },
  );
  it('gets the bytes back that it sent, whatever they are', async () => {
    const bytes = Buffer.from(Array.from({ length: 50_000 }, (_, index) => (index * 7) % 256));
    const { body } = await call('/function/echo/some/path?with=query', { body: bytes });
    expect(Buffer.from(await body.arrayBuffer()).equals(bytes)).toBe(true);
  });
  it('keeps the call id of the caller and tells how long it took', async () => {
    const { headers } = await call('/function/echo', { headers: { 'x-call-id': 'mine' } });
    expect(headers['x-call-id']).toBe('mine');
    expect(Number(headers['x-duration-seconds'])).toBeGreaterThanOrEqual(0);
    expect(headers['x-start-time']).toMatch(/^\d{19}$/);
  });
  it('finds a function by its full name, and in another namespace only by that', async () => {
    expect((await call('/function/echo.openfaas-fn')).statusCode).toBe(200);
    expect((await call('/function/other.elsewhere')).statusCode).toBe(200);
    expect((await call('/function/other')).statusCode).toBe(404);
  });
  it.each(['nope', 'a..b', 'a%2fb', 'x'.repeat(300), 'callback.millrace', '__proto__', 'constructor'])(
    'of %s is 404',
    async (name) => {
      for (const prefix of ['/function/', '/async-function/']) {
        const { statusCode, body } = await call(`${prefix}${name}`);
        expect(statusCode).toBe(404);
        expect(await body.text()).toContain('function.missing');
      }
    },
  );
  it('that outlasts its deadline is 504, and not before', async () => {
    const before = performance.now();
    const { statusCode, headers } = await call('/function/never');
    expect(statusCode).toBe(504);
    expect(headers['x-openfaas-internal']).toBe('millrace');
    expect(performance.now() - before).toBeGreaterThanOrEqual(299);
  });
  it('may ask for less time, never for more', async () => {
    const before = performance.now();
    expect((await call('/function/never', { headers: { 'x-timeout': '50ms' } })).statusCode).toBe(504);
    expect((await call('/function/never', { headers: { 'x-timeout': '1h' } })).statusCode).toBe(504);
    expect(performance.now() - before).toBeGreaterThanOrEqual(349);
  });
  it('finds the waiting room full: 429 with Retry-After', async () => {
    const calls = await Promise.all(Array.from({ length: 5 }, () => call('/function/never')));
    const statuses = calls.map(({ statusCode }) => statusCode);
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThanOrEqual(3);
    expect(calls.find(({ statusCode }) => statusCode === 429)?.headers['retry-after']).toBe('1');
  });
  it('gives its slot back when the caller goes away', async () => {
    const gone = new AbortController();
    const abandoned = call('/function/never', { signal: gone.signal }).catch(() => 'aborted');
    const slots = async () => {
      const rows = (await (await request(`${running.url}/system/queues`)).body.json()) as Record<string, unknown>[];
      return rows.find(({ level, name }) => level === 'gateway' && name === 'never.openfaas-fn');
    };
    await eventually(async () => ((await slots())?.['leased'] === 1 ? true : undefined));
    gone.abort();
    expect(await abandoned).toBe('aborted');
    await eventually(async () => ((await slots())?.['leased'] === 0 ? true : undefined));
  });
  it('survives a provider that throws', async () => {
    expect((await call('/function/throws')).statusCode).toBe(500);
    expect((await call('/function/echo')).statusCode).toBe(200);
  });
  it('cannot strip what the gateway adds, by naming it in Connection', async () => {
    const socket = connect(Number(new URL(running.url).port), '127.0.0.1');
    socket.end(
      'GET /function/echo HTTP/1.1\r\nHost: x\r\nConnection: close, X-Forwarded-For, X-Call-Id\r\nX-Call-Id: forged\r\n\r\n',
    );
    const text = await textOf(socket);
    expect(text).toMatch(/^HTTP\/1.1 200/);
    expect(text).not.toContain('forged');
  });
});

describe('an answer that streams', () => {
  const streamed = async (length: string | undefined, method: 'GET' | 'HEAD' = 'GET') => {
    const { headers, body } = await call('/function/streams', {
      method,
      headers: length === undefined ? {} : { 'x-length': length },
    });
    return { headers, text: await body.text().catch(() => 'broken off') };
  };
  it('is chunked where the function tells no length', async () => {
    const { headers, text } = await streamed(undefined);
    expect([headers['transfer-encoding'], headers['content-length'], text]).toEqual(['chunked', undefined, 'stram']);
  });
  it('has the length that the function tells', async () => {
    const { headers, text } = await streamed('5');
    expect([headers['transfer-encoding'], headers['content-length'], text]).toEqual([undefined, '5', 'stram']);
    expect((await streamed('5', 'HEAD')).headers['content-length']).toBe('5');
  });
  it.each(['0', '4', '6', '500'])('is broken off when it has not the %s bytes that it told', async (length) => {
    const socket = connect(Number(new URL(running.url).port), '127.0.0.1');
    // What the caller cannot tell from the answer to it must not come.
    const one = `GET /function/streams HTTP/1.1\r\nHost: x\r\nX-Length: ${length}\r\n\r\n`;
    socket.write(one + one);
    const text = await textOf(socket); // Resolves at its end: the connection is closed.
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(text.split('\r\n\r\n')[1]?.length).toBeLessThanOrEqual(Number(length));
  });
});

describe('a body that is too large', () => {
  it('is refused by its length, before it is sent', async () => {
    const socket = connect(Number(new URL(running.url).port), '127.0.0.1');
    socket.write('POST /function/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n');
    expect(await textOf(socket)).toMatch(/^HTTP\/1.1 413[\s\S]*limit\.body/);
  });
  it('is refused while it streams, when it told no length', async () => {
    const body = Readable.from(Array.from({ length: 40 }, () => Buffer.alloc(10_000)));
    const { statusCode } = await call('/function/echo', { body });
    expect(statusCode).toBe(413);
  });
  it('has a smaller limit on its way to a queue', async () => {
    expect((await call('/async-function/echo', { body: Buffer.alloc(10 * 1024) })).statusCode).toBe(202);
    expect((await call('/async-function/echo', { body: Buffer.alloc(10 * 1024 + 1) })).statusCode).toBe(413);
    const chunked = Readable.from([Buffer.alloc(6000), Buffer.alloc(6000)]);
    expect((await call('/async-function/echo', { body: chunked })).statusCode).toBe(413);
    const asked = { headers: { 'x-invoke-mode': 'async' }, body: Buffer.alloc(20_000) };
    expect((await call('/function/echo', asked)).statusCode).toBe(413);
  });
});

describe('an asynchronous call', () => {
  it('is answered 202 with where to ask, and its result is there later', async () => {
    const { statusCode, headers } = await call('/async-function/echo', { body: 'later' });
    expect(statusCode).toBe(202);
    expect(headers['x-durability']).toBe('memory');
    expect(headers['location']).toBe(`/invocations/${String(headers['x-invocation-id'])}`);
    const record = await recordOf(headers['x-invocation-id']);
    expect(record).toMatchObject({ state: 'succeeded', attempt: 1, function: 'echo.openfaas-fn', error: null });
    const result = await request(`${running.url}${String(headers['location'])}/result`);
    expect(result.statusCode).toBe(200);
    expect(await result.body.text()).toBe('later');
  });
  it.each([
    ['x-invoke-mode', 'async'],
    ['prefer', 'respond-async'],
  ])('may be asked for by %s: %s', async (name, value) => {
    const { statusCode, headers } = await call('/function/echo', { headers: { [name]: value } });
    expect(statusCode).toBe(202);
    if (name === 'prefer') expect(headers['preference-applied']).toBe('respond-async');
  });
  it('that is done while the caller waits is answered like a synchronous one', async () => {
    const quick = await call('/function/echo', { headers: { prefer: 'respond-async, wait=10' }, body: 'now' });
    expect([quick.statusCode, await quick.body.text()]).toEqual([200, 'now']);
    expect(quick.headers['preference-applied']).toBe('respond-async, wait=10');
    const slow = await call('/function/never', { headers: { prefer: 'respond-async, wait=0' } });
    expect(slow.statusCode).toBe(202);
  });
  it('is POST only', async () => {
    const { statusCode, headers } = await call('/async-function/echo', { method: 'GET' });
    expect([statusCode, headers['allow']]).toEqual([405, 'POST']);
  });
  it('with an idempotency key runs once', async () => {
    const send = () => call('/async-function/echo', { headers: { 'idempotency-key': 'once' } });
    const [first, second] = [await send(), await send()];
    expect(second.statusCode).toBe(202);
    expect(second.headers['x-invocation-id']).toBe(first.headers['x-invocation-id']);
    expect(second.headers['x-duplicate']).toBe('true');
  });
  it('with a delay waits, and can be cancelled before it runs', async () => {
    const { headers } = await call('/async-function/echo', { headers: { 'x-delay': '1h' } });
    const id = String(headers['x-invocation-id']);
    expect(await recordOf(id, '1ms')).toMatchObject({ state: 'delayed', attempt: 0 });
    expect((await call(`/invocations/${id}`, { method: 'DELETE' })).statusCode).toBe(202);
    expect(await recordOf(id)).toMatchObject({ state: 'cancelled', attempt: 0 });
    expect((await call(`/invocations/${id}`, { method: 'DELETE' })).statusCode).toBe(202); // Idempotent.
  });
  it('is cancelled by the call id that it was given, as OpenFaaS Pro has it', async () => {
    const { headers } = await call('/async-function/echo', { headers: { 'x-delay': '1h' } });
    const cancel = async () =>
      (await call(`/async-function/${String(headers['x-call-id'])}`, { method: 'DELETE' })).statusCode;
    expect(await cancel()).toBe(202);
    expect(await recordOf(headers['x-invocation-id'])).toMatchObject({ state: 'cancelled' });
    const { headers: done } = await call('/async-function/echo');
    await recordOf(done['x-invocation-id']);
    expect((await call(`/async-function/${String(done['x-call-id'])}`, { method: 'DELETE' })).statusCode).toBe(409);
    expect((await call('/async-function/01JZ8Y4TQ3M4V5W6X7Y8Z9ABCD', { method: 'DELETE' })).statusCode).toBe(404);
  });
  it('that runs is aborted by a cancel', async () => {
    const { headers } = await call('/async-function/never');
    const id = String(headers['x-invocation-id']);
    await eventually(async () => ((await recordOf(id, '1ms'))['state'] === 'running' ? true : undefined));
    await (await call(`/invocations/${id}`, { method: 'DELETE' })).body.dump();
    expect((await recordOf(id))['state']).toBe('cancelled');
  });
  it('that fails is tried again, then kept as a dead letter, and replayed', async () => {
    const { headers } = await call('/async-function/fail', { body: 'keep me' });
    const id = String(headers['x-invocation-id']);
    expect(await recordOf(id)).toMatchObject({ state: 'dead', attempt: 2 });
    const letter = (await (await request(`${running.url}/system/dead-letters/${id}`)).body.json()) as {
      errors: unknown[];
    };
    expect(letter.errors).toHaveLength(2);
    expect(await (await request(`${running.url}/system/dead-letters/${id}/body`)).body.text()).toBe('keep me');
    const replay = await call(`/system/dead-letters/${id}/replay`, {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ to: 'echo' }),
    });
    const { id: again } = (await replay.body.json()) as { id: string };
    expect(await recordOf(again)).toMatchObject({ state: 'succeeded', attempt: 1 });
  });
  it('is run as many at once as its function takes, whatever it may have', async () => {
    const before = narrow.refused;
    const accepted = await Promise.all(Array.from({ length: 60 }, () => call('/async-function/narrow')));
    for (const { headers } of accepted) {
      expect(await recordOf(headers['x-invocation-id'])).toMatchObject({ state: 'succeeded' });
    }
    // Without a pace 30 of 32 are turned away each time that two are run: about 900.
    expect(narrow.refused - before).toBeLessThan(240);
  });
  it('leads on to the functions that its policy names', async () => {
    const { headers } = await call('/async-function/chained', {
      body: 'pass it on',
      headers: { 'x-call-id': 'chain' },
    });
    await recordOf(headers['x-invocation-id']);
    const accepted = async () => {
      const metrics = await (await request(`${running.gateway.managementUrl}/metrics`)).body.text();
      return (
        /millrace_queue_succeeded_total\{queue="default",function_name="after.openfaas-fn"\} 1/.test(metrics) ||
        undefined
      );
    };
    await eventually(accepted);
  });
});

describe('a callback', () => {
  it('brings the outcome, signed, and again until it is taken', async () => {
    const received: { headers: Record<string, unknown>; body: string }[] = [];
    const sink = createServer((incoming, answer) => {
      let body = '';
      incoming.on('data', (chunk: Buffer) => (body += chunk.toString()));
      incoming.on('end', () => {
        received.push({ headers: incoming.headers, body });
        answer.writeHead(received.length < 2 ? 503 : 204).end();
      });
    }).listen(0, '127.0.0.1');
    await once(sink, 'listening');
    const { port } = sink.address() as { port: number };
    const headers = { 'x-callback-url': `http://127.0.0.1:${port}/done`, 'x-call-id': 'called-back' };
    expect((await call('/async-function/echo', { headers, body: 'answer' })).statusCode).toBe(202);
    await eventually(() => (received.length >= 2 ? true : undefined));
    expect(received[1]).toMatchObject({
      body: 'answer',
      headers: {
        'x-call-id': 'called-back',
        'x-function-status': '200',
        'x-function-name': 'echo.openfaas-fn',
        'x-retry': '0',
        'x-retry-max': '4',
      },
    });
    expect(received[1]?.headers['webhook-signature']).toMatch(/^v1,/);
    sink.close();
  });
  it('to a name of the gateway runs the function there', async () => {
    ranHeaders.length = 0;
    const url = 'http://gateway.openfaas:8080/function/receive/deep?a=b';
    const { statusCode } = await call('/async-function/echo', {
      headers: { 'x-callback-url': url, 'x-call-id': 'at-home' },
      body: 'answer',
    });
    expect(statusCode).toBe(202);
    await eventually(() => (ran.includes('answer') ? true : undefined));
    expect(ranHeaders.at(-1)).toMatchObject({
      'x-call-id': 'at-home',
      'x-function-name': 'echo.openfaas-fn',
      'x-function-status': '200',
    });
  });
  it('to a function that follows anyway runs it for both', async () => {
    const { statusCode } = await call('/async-function/recorded', {
      headers: { 'x-callback-url': 'http://gateway:8080/function/receive' },
      body: 'twice',
    });
    expect(statusCode).toBe(202);
    await eventually(() => (ran.filter((body) => body === 'twice').length === 2 ? true : undefined));
  });
  it.each(['http://gateway:8080/function/callback.millrace', 'http://gateway/system/functions'])(
    'to %s is none to a function',
    async (url) => {
      expect(callbackFunctionOf(url, ['gateway'], 'openfaas-fn')).toBeUndefined();
      expect(callbackFunctionOf('http://gateway/function/a', ['gateway'], 'openfaas-fn')?.lane).toBe('a.openfaas-fn');
    },
  );
  it.each(['http://169.254.169.254/', 'file:///etc/passwd', 'http://10.0.0.1/', 'nonsense'])(
    'to %s is refused: 400',
    async (url) => {
      const { statusCode, body } = await call('/async-function/echo', { headers: { 'x-callback-url': url } });
      expect(statusCode).toBe(400);
      expect(await body.text()).toContain('callback.refused');
    },
  );
});

describe('bad headers', () => {
  it.each([
    ['x-priority', '10'],
    ['x-priority', 'high'],
    ['x-delay', '5'],
    ['x-max-age', 'soon'],
    ['x-timeout', '-1s'],
    ['x-invoke-mode', 'later'],
    ['prefer', 'respond-async, wait=long'],
    ['idempotency-key', 'k'.repeat(256)],
  ])('%s: %s is 400 and says what was expected', async (name, value) => {
    const { statusCode, body } = await call('/async-function/echo', { headers: { [name]: value } });
    const text = await body.text();
    expect([statusCode, text]).toEqual([400, expect.stringContaining('expected')]);
    expect(text.toLowerCase()).toContain(name);
  });
});

async function textOf(socket: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

describe('a gateway on localhost', () => {
  it('answers on each of its addresses', async () => {
    const gateway = await testGateway(
      'gateway: { listen: { host: localhost, port: 0 }, management: { port: 0 } }\nfunctions: { echo: { behaviour: echo } }\n',
    );
    const { port } = new URL(gateway.url);
    for (const { address, family } of await lookup('localhost', { all: true })) {
      const host = family === 6 ? `[${address}]` : address;
      const { statusCode, body } = await request(`http://${host}:${port}/function/echo`, {
        method: 'POST',
        body: host,
      });
      expect([statusCode, await body.text()]).toEqual([200, host]);
    }
    await gateway[Symbol.asyncDispose]();
  });
});
