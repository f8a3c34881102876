import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { request } from 'undici';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { bodyOf, type Handler, type RunningServer, serve } from '../support/http-functions.ts';

/** What the upstream answers; each test sets its own. */
let handler: Handler;
let upstream: RunningServer;
let gateway: TestGateway;
const retry = '{ attempts: 3, backoff: { kind: fixed, initial: 20ms, jitter: none } }';

beforeAll(async () => {
  upstream = await serve((incoming, response) => handler(incoming, response));
  gateway = await testGateway(
    `
providers: { http: { kind: http } }
functions:
  plain: { url: "${upstream.url}", invoke: { retry: ${retry} } }
  based: { url: "${upstream.url}/base/" }
  known: { url: "${upstream.url}", headers: { Authorization: "Bearer \${TOKEN}", X-Gateway: "yes" } }
  short: { url: "${upstream.url}", invoke: { timeout: 300ms } }
`,
    { TOKEN: 'of-the-gateway' },
  );
});
beforeEach(() => {
  handler = async (incoming, response) => void response.end(await bodyOf(incoming));
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

const call = (path: string, init: Partial<Parameters<typeof request>[1]> = {}) =>
  request(`${gateway.url}${path}`, init);

/** A call by hand, on a connection of its own. */
async function byHand(text: string): Promise<Socket> {
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  await once(socket, 'connect');
  socket.write(text);
  return socket;
}

/** All that comes until the connection ends. */
async function textOf(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => (text += chunk.toString()));
  socket.on('error', () => undefined);
  await once(socket, 'close');
  return text;
}

describe('the request that an upstream gets', () => {
  it('has the path behind the name, the query as it came, and the headers that OpenFaaS promises', async () => {
    const seen: Record<string, unknown>[] = [];
    handler = (incoming, response) => {
      seen.push({ ...incoming.headers, url: incoming.url, method: incoming.method });
      response.end();
    };
    const headers = { 'x-own': 'kept', te: 'trailers' };
    const answered = await call('/function/plain/a/b%2Fc?x=1&y=%26', { method: 'DELETE', headers });
    expect(answered.statusCode).toBe(200);
    const nominating =
      'GET /function/plain HTTP/1.1\r\nHost: x\r\nConnection: close, X-Nominated\r\nX-Nominated: gone\r\n\r\n';
    await textOf(await byHand(nominating));
    const [got = {}, nominated] = seen;
    expect(nominated).toBeDefined();
    expect(got).toMatchObject({
      method: 'DELETE',
      url: '/a/b%2Fc?x=1&y=%26',
      host: new URL(upstream.url).host,
      'x-own': 'kept',
      'x-forwarded-host': new URL(gateway.url).host,
      'x-call-id': answered.headers['x-call-id'],
      'x-start-time': answered.headers['x-start-time'],
      'user-agent': 'millrace',
    });
    expect(got['x-forwarded-for']).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(got['x-invocation-id']).toMatch(/^[0-9A-Z]{26}$/);
    for (const name of ['te', 'transfer-encoding']) expect(got).not.toHaveProperty(name);
    expect(nominated).not.toHaveProperty('x-nominated');
  });
  it('stays below the path of the URL', async () => {
    handler = (incoming, response) => void response.end(incoming.url);
    const at = async (path: string) => (await call(`/function/based${path}`)).body.text();
    expect(await at('')).toBe('/base/');
    expect(await at('?q')).toBe('/base/?q');
    expect(await at('/x..y/.../z')).toBe('/base/x..y/.../z');
    for (const path of ['/../admin', '/a/..', '/%2e%2E/admin', '/..%2fadmin', '/..\\admin', '/a%5c..%5cb']) {
      const socket = await byHand(`GET /function/based${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 400 [\s\S]*request\.invalid/);
    }
  });
  it('has the headers of the configuration instead of those of the caller', async () => {
    handler = (incoming, response) =>
      void response.end(`${incoming.headers.authorization} ${String(incoming.headers['x-gateway'])}`);
    const headers = { authorization: 'Bearer of-the-caller', 'x-gateway': 'no' };
    expect(await (await call('/function/known', { headers })).body.text()).toBe('Bearer of-the-gateway yes');
  });
  it('has the bytes of a body that came bit by bit, and of one that was announced', async () => {
    const socket = await byHand(
      'POST /function/plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n',
    );
    const answer = textOf(socket);
    for (const part of ['on', 'e ', 'by']) {
      await wait(30);
      socket.write(part);
    }
    expect(await answer).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK[\s\S]*\r\n\r\none by$/);
  });
});

describe('the answer of an upstream', () => {
  it.each([301, 304, 204, 404, 418, 500])('%s is passed on as it is', async (status) => {
    handler = (_incoming, response) =>
      void response.writeHead(status, { location: '/elsewhere', 'x-own': 'kept' }).end();
    const { statusCode, headers, body } = await call('/function/plain');
    expect([statusCode, headers['location'], headers['x-own']]).toEqual([status, '/elsewhere', 'kept']);
    expect(headers['x-openfaas-internal']).toBeUndefined();
    expect(await body.text()).toBe('');
  });
  it('to HEAD tells the length of what is not sent', async () => {
    handler = (_incoming, response) => void response.writeHead(200, { 'content-length': 1234 }).end();
    const { headers, body } = await call('/function/plain', { method: 'HEAD' });
    expect(headers['content-length']).toBe('1234');
    expect(await body.text()).toBe('');
  });
  it('loses what was about its connection, its hints and its trailers', async () => {
    handler = (_incoming, response) => {
      response.writeEarlyHints({ link: '</style.css>; rel=preload' });
      response.writeHead(200, { connection: 'x-hop', 'x-hop': 'gone', 'keep-alive': 'timeout=7', trailer: 'x-late' });
      response.addTrailers({ 'x-late': 'gone' });
      response.end('body');
    };
    const socket = await byHand('GET /function/plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const text = await textOf(socket);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(text).toContain('body');
    expect(text).not.toMatch(/x-hop|x-late|timeout=7|style\.css/i);
  });
  it('has several headers of one name', async () => {
    handler = (_incoming, response) => void response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'] }).end();
    expect((await call('/function/plain')).headers['set-cookie']).toEqual(['a=1', 'b=2']);
  });
  it('without a type has that of the request, or is text', async () => {
    handler = (_incoming, response) => void response.end('x');
    const typed = await call('/function/plain', { method: 'POST', headers: { 'content-type': 'application/x-own' } });
    expect(typed.headers['content-type']).toBe('application/x-own');
    expect((await call('/function/plain')).headers['content-type']).toMatch(/^text\/plain/);
  });
  it('keeps its length when it streams', async () => {
    handler = async (_incoming, response) => {
      response.writeHead(200, { 'content-length': 6 }).write('one');
      await wait(30);
      response.end('two');
    };
    const { headers, body } = await call('/function/plain');
    expect([headers['content-length'], headers['transfer-encoding']]).toEqual(['6', undefined]);
    expect(await body.text()).toBe('onetwo');
  });
  it.each(['text/event-stream', 'application/x-ndjson'])('of %s goes out at once, its head first', async (type) => {
    const { promise: headSeen, resolve: sawHead } = Promise.withResolvers<void>();
    const { promise: firstSeen, resolve: sawFirst } = Promise.withResolvers<void>();
    handler = async (_incoming, response) => {
      response.writeHead(200, { 'content-type': type }).flushHeaders();
      await headSeen; // Each step waits for what came of the one before: what is held back is never sent.
      response.write('first\n');
      await firstSeen;
      response.end('last\n');
    };
    const { headers, body } = await call('/function/plain');
    expect(headers['content-type']).toBe(type);
    sawHead();
    const parts: string[] = [];
    for await (const chunk of body) {
      parts.push(String(chunk));
      sawFirst();
    }
    expect(parts).toEqual(['first\n', 'last\n']);
  });
  it('that says too many calls are under way is passed on, and tried again from a queue', async () => {
    const answers = [429, 404, 200];
    handler = (_incoming, response) => {
      const status = answers.shift() ?? 500;
      const made = status === 200 ? {} : { 'x-openfaas-internal': 'faas-middleware' };
      response.writeHead(status, made).end(`answer ${status}`);
    };
    const direct = await call('/function/plain', { method: 'POST' });
    expect([direct.statusCode, direct.headers['x-openfaas-internal']]).toEqual([429, 'faas-middleware']);
    // A 404 of the function itself would be final.
    const queued = await call('/async-function/plain', { method: 'POST' });
    const record = await request(`${gateway.url}/invocations/${String(queued.headers['x-invocation-id'])}?wait=10s`);
    expect(await record.body.json()).toMatchObject({ state: 'succeeded', attempt: 2 });
  });
});

describe('an upstream that goes away', () => {
  it('in the middle of an answer breaks off the answer to the caller', async () => {
    handler = (_incoming, response) => {
      response.write('the first part');
      setTimeout(() => response.destroy(), 50);
    };
    const socket = await byHand('GET /function/plain HTTP/1.1\r\nHost: x\r\n\r\n');
    const text = await textOf(socket);
    expect(text).toContain('the first part');
    expect(text).not.toMatch(/\r\n0\r\n/); // The end of a chunked body.
  });
  it('before it is answered 502, made by the platform', async () => {
    handler = (incoming) => void incoming.socket.destroy();
    const { statusCode, headers, body } = await call('/function/plain', { method: 'POST', body: 'x' });
    expect([statusCode, headers['x-openfaas-internal']]).toEqual([502, 'proxy']);
    expect(await body.json()).toMatchObject({ error: { code: 'function.unreachable' } });
  });
  it('silently is answered 504 at the deadline, and its connection closed', async () => {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    handler = (incoming) => void incoming.socket.on('close', () => resolve());
    const { statusCode, headers } = await call('/function/short', { method: 'POST', body: 'x' });
    expect([statusCode, headers['x-openfaas-internal']]).toEqual([504, 'millrace']);
    await closed;
  });
});

describe('whoever is slow holds up nobody else, and fills no memory', () => {
  it('a caller who does not read: the upstream is not read either', async () => {
    let sent = 0;
    const chunk = Buffer.alloc(65_536);
    handler = async (_incoming, response) => {
      while (!response.destroyed && sent < 200_000_000) {
        sent += chunk.length;
        if (!response.write(chunk)) await Promise.race([once(response, 'drain'), wait(300)]);
      }
    };
    const socket = await byHand('GET /function/plain HTTP/1.1\r\nHost: x\r\n\r\n');
    socket.pause();
    await expect.poll(() => sent, { timeout: 10_000 }).toBeGreaterThan(65_536);
    await wait(700);
    expect(sent).toBeLessThan(50_000_000); // Kernel buffers and all; without an end it would be all of it.
    socket.destroy();
  });
  it('an upstream that does not read: the caller is not read either', async () => {
    const held: Socket[] = [];
    const deaf = createServer((socket) => void held.push(socket.pause())).listen(0, '127.0.0.1');
    await once(deaf, 'listening');
    const { port } = deaf.address() as AddressInfo;
    await using own = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { body: 1GiB } }
providers: { http: { kind: http } }
functions: { deaf: { url: "http://127.0.0.1:${port}" } }
`);
    const socket = connect(Number(new URL(own.url).port), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write('POST /function/deaf HTTP/1.1\r\nHost: x\r\nContent-Length: 500000000\r\n\r\n');
    const chunk = Buffer.alloc(65_536);
    let taken = 0;
    const more = (): void => {
      while (taken < 200_000_000 && socket.write(chunk)) taken += chunk.length;
    };
    socket.on('drain', more);
    more();
    await expect.poll(() => held.length).toBe(1);
    await wait(700);
    expect(taken).toBeLessThan(50_000_000);
    socket.destroy();
    for (const each of held) each.destroy();
    deaf.close();
  });
});
