import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync } from 'node:fs';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Invocation, Outcome } from '../../core/contracts/invocation.ts';
import type { FunctionEntry } from '../../core/contracts/provider.ts';
import { makeCall, makeInvocation } from '../../core/testing/index.ts';
import { bytesOf } from '../../core/testing/provider-contract.ts';
import { bodyOf, type Handler, serve } from '../support/http-functions.ts';
import { httpBench, type HttpProviderBench } from './http-provider-bench.ts';

const stack: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of stack.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function bench(config: Readonly<Record<string, unknown>> = {}): Promise<HttpProviderBench> {
  const made = await httpBench(config);
  stack.push(made);
  return made;
}

async function upstream(handler: Handler, port = 0): Promise<{ readonly url: string; readonly seen: string[] }> {
  const seen: string[] = [];
  const server = await serve(async (request, response) => {
    seen.push(`${request.method} ${request.url}`);
    await handler(request, response);
  }, port);
  stack.push(server);
  return { url: server.url, seen };
}

interface Wire {
  readonly url: string;
  /** What each connection has brought. */
  readonly received: string[];
}

/** Bytes of HTTP by hand: `onRequest` is given each head that has come whole, numbered by connection and request. */
async function wire(
  onRequest: (socket: Socket, at: { readonly connection: number; readonly request: number }) => void,
): Promise<Wire> {
  const received: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const connection = sockets.size;
    let request = 0;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      received[connection] = (received[connection] ?? '') + chunk.toString('latin1');
      if (chunk.includes('\r\n\r\n')) onRequest(socket, { connection, request: request++ });
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.push({
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

/** A key, and a certificate of it for this address that is its own authority. */
function certificate(folder: string): { readonly key: Buffer; readonly cert: Buffer } {
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const named = [
    '-subj',
    '/CN=upstream',
    '-addext',
    'subjectAltName=IP:127.0.0.1',
    '-keyout',
    'key.pem',
    '-out',
    'ca.pem',
  ];
  execFileSync('openssl', [...args, ...named], { cwd: folder, stdio: 'ignore' });
  return { key: readFileSync(join(folder, 'key.pem')), cert: readFileSync(join(folder, 'ca.pem')) };
}

async function invoke(entry: FunctionEntry, set: Partial<Invocation> = {}): Promise<Outcome> {
  return entry.provider.invoke(entry, makeCall(makeInvocation(entry.name, set)));
}

const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Nobody listens there. */
async function closedPort(): Promise<number> {
  const server = await serve(() => undefined);
  const { port } = new URL(server.url);
  await server[Symbol.asyncDispose]();
  return Number(port);
}

describe('a connection that ends just when it is used again', () => {
  /** Answers the first request of its first connection, and meets the second by closing. */
  const stale = (): Promise<Wire> =>
    wire((socket, { connection, request }) => {
      if (connection === 0 && request > 0) socket.destroy();
      else socket.write(answer);
    });

  it.each(['GET', 'HEAD', 'DELETE', 'OPTIONS'])('is replaced by a fresh one for %s', async (method) => {
    const { url, received } = await stale();
    const entry = await (await bench({ connections: 1 })).deploy('stale.test', { url });
    expect((await invoke(entry, { method: 'GET' })).status).toBe(200);
    expect((await invoke(entry, { method })).status).toBe(200);
    expect(received).toHaveLength(2);
    for (const bytes of received) expect(bytes).toMatch(new RegExp(`(?:^|\r\n\r\n)${method} `));
  });
  it('is replaced also where the URL has a path', async () => {
    const { url, received } = await stale();
    const entry = await (await bench({ connections: 1 })).deploy('stale.test', { url: `${url}/path` });
    expect((await invoke(entry, { method: 'GET' })).status).toBe(200);
    expect((await invoke(entry, { method: 'GET' })).status).toBe(200);
    expect(received).toHaveLength(2);
  });
  it.each([
    ['POST', null],
    ['POST', Buffer.from('a body')],
    ['PATCH', Buffer.from('a body')],
    ['PUT', Buffer.from('a body')],
  ] as const)('is told for %s with %s, which may have been done', async (method, body) => {
    const { url, received } = await stale();
    const entry = await (await bench({ connections: 1 })).deploy('stale.test', { url });
    await invoke(entry, { method: 'GET' });
    const outcome = await invoke(entry, { method, body });
    expect([outcome.status, outcome.failure]).toEqual([502, 'connection']);
    expect(received).toHaveLength(1);
  });
  it('is replaced once only', async () => {
    const { url, received } = await wire((socket) => socket.destroy());
    const entry = await (await bench({ connections: 1 })).deploy('stale.test', { url });
    expect((await invoke(entry, { method: 'GET' })).failure).toBe('connection');
    expect(received).toHaveLength(2);
  });
  it('is told once the answer has begun', async () => {
    const { url, received } = await wire((socket) => void socket.write('HTTP/1.1 2', () => socket.destroy()));
    const entry = await (await bench({ connections: 1 })).deploy('stale.test', { url });
    const outcome = await invoke(entry, { method: 'GET' });
    expect([outcome.status, outcome.failure]).toEqual([502, 'connection']);
    expect(received).toHaveLength(1);
  });
});

describe('what is sent is one request, whatever the headers of the message say', () => {
  const smuggled = {
    'content-length': '3',
    'transfer-encoding': 'chunked',
    connection: 'close, x-kept',
    'keep-alive': 'timeout=5',
    upgrade: 'websocket',
    expect: '100-continue',
    host: 'elsewhere',
    te: 'trailers',
    trailer: 'x-late',
    'proxy-connection': 'keep-alive',
    'x-kept': 'kept',
  };
  it.each([
    ['bytes', 'GET /other HTTP/1.1\r\n\r\n'],
    ['none', ''],
  ])('with a body of %s', async (_name, body) => {
    const seen: string[] = [];
    const { url }: { readonly url: string } = await upstream(async (request, response) => {
      const got = await bodyOf(request);
      const { host, connection, ...headers } = request.headers;
      seen.push(`${request.method} ${request.url} ${got.toString()}`);
      expect(host).toBe(new URL(url).host);
      expect(connection).toBe('keep-alive');
      for (const name of ['transfer-encoding', 'keep-alive', 'upgrade', 'expect', 'te', 'trailer', 'proxy-connection'])
        expect(headers[name]).toBeUndefined();
      expect(headers['content-length']).toBe(String(got.length));
      expect(headers['x-kept']).toBe('kept');
      response.end();
    });
    const entry = await (await bench()).deploy('exact.test', { url });
    for (let round = 0; round < 3; round++) {
      expect((await invoke(entry, { headers: smuggled, body: body === '' ? null : Buffer.from(body) })).status).toBe(
        200,
      );
    }
    expect(seen).toEqual(Array.from({ length: 3 }, () => `POST / ${body}`));
  });
  it.each([
    ['a line break in a header', { headers: { 'x-a': 'b\r\nx-c: d' } }],
    ['a line break in the path', { path: '/a HTTP/1.1\r\nx-b: c' }],
    ['a space in the path', { path: '/a b' }],
    ['a name that is none', { headers: { 'x a': 'b' } }],
    ['a method that is none', { method: 'GET /x HTTP/1.1\r\n' }],
  ])('and refused with %s', async (_name, set) => {
    const { url, seen } = await upstream((_request, response) => void response.end());
    const entry = await (await bench()).deploy('exact.test', { url });
    const outcome = await invoke(entry, set);
    expect([outcome.status, outcome.failure, outcome.error?.code]).toEqual([400, 'refused', 'request.invalid']);
    expect(seen).toEqual([]);
    expect((await invoke(entry)).status).toBe(200);
  });
});

describe('what is no answer', () => {
  it.each([
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    ],
    ['something else', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`],
    [
      'an upgrade that nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
    ],
  ])('is 502 and never a part of the next: %s', async (_name, bytes) => {
    const { url } = await wire((socket, { connection }) => void socket.write(connection === 0 ? bytes : answer));
    const entry = await (await bench()).deploy('odd.test', { url });
    const outcome = await invoke(entry, { body: Buffer.from('x') });
    expect([outcome.status, outcome.failure]).toEqual([502, 'connection']);
    expect((await bytesOf(await invoke(entry, { body: Buffer.from('x') }))).toString()).toBe('ok');
  });
  it('what follows an answer unasked is not the answer to the next call', async () => {
    const { url } = await wire(
      (socket, { connection }) => void socket.write(connection === 0 ? answer + answer.replace('ok', 'no') : answer),
    );
    const entry = await (await bench()).deploy('odd.test', { url });
    for (let round = 0; round < 3; round++) {
      expect((await bytesOf(await invoke(entry, { body: Buffer.from('x') }))).toString()).toBe('ok');
    }
  });
  it('a body that is shorter than told breaks off', async () => {
    const { url } = await wire((socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort'));
    const entry = await (await bench()).deploy('odd.test', { url });
    const told = invoke(entry, { body: Buffer.from('x') }).then(async (outcome) => {
      if (outcome.failure) throw new Error(outcome.failure);
      return bytesOf(outcome);
    });
    await expect(told).rejects.toThrow();
  });
});

describe('several upstreams', () => {
  const named = (name: string): Promise<{ readonly url: string; readonly seen: string[] }> =>
    upstream((_request, response) => void response.end(name));

  it('are taken in turn while they are equally busy', async () => {
    const all = await Promise.all(['a', 'b', 'c'].map(named));
    const entry = await (await bench()).deploy('several.test', { urls: all.map(({ url }) => url) });
    for (let call = 0; call < 9; call++) await invoke(entry);
    expect(all.map(({ seen }) => seen.length)).toEqual([3, 3, 3]);
  });
  it('get fewer calls the longer theirs take', async () => {
    const held: (() => void)[] = [];
    const slow = await upstream(async (_request, response) => {
      await new Promise<void>((resolve) => held.push(resolve));
      response.end();
    });
    const quick = await named('quick');
    const entry = await (await bench()).deploy('several.test', { urls: [slow.url, quick.url] });
    const first = [invoke(entry), invoke(entry)];
    await expect.poll(() => held.length).toBe(1);
    await expect.poll(() => quick.seen.length).toBe(1);
    for (let call = 0; call < 10; call++) await invoke(entry);
    expect([slow.seen.length, quick.seen.length]).toEqual([1, 11]);
    held[0]?.();
    await Promise.all(first);
  });
  it('are left out while they refuse connections, and the call goes to another one, body and all', async () => {
    const port = await closedPort();
    const there = await upstream(async (request, response) => void response.end(await bodyOf(request)));
    const { deploy, status } = await bench();
    const entry = await deploy('several.test', { urls: [`http://127.0.0.1:${port}`, there.url] });
    expect(status('several.test')).toMatchObject({ state: 'ready', replicas: 2, availableReplicas: 2 });
    for (let call = 0; call < 4; call++) {
      expect((await bytesOf(await invoke(entry, { body: Buffer.from('kept') }))).toString()).toBe('kept');
    }
    expect(status('several.test')).toMatchObject({ replicas: 2, availableReplicas: 1, capacity: 128 });
    const back = await upstream((_request, response) => void response.end('back'), port);
    await expect.poll(() => status('several.test')?.availableReplicas).toBe(2);
    await invoke(entry);
    await invoke(entry);
    expect(back.seen).toHaveLength(1);
  });
  it('when all are away: 502 for the call that finds out, then 503 and when to come again', async () => {
    const port = await closedPort();
    const { deploy, status } = await bench();
    const entry = await deploy('away.test', { url: `http://127.0.0.1:${port}` });
    const found = await invoke(entry, { body: Buffer.from('x') });
    expect([found.status, found.failure, found.error?.code]).toEqual([502, 'connection', 'function.unreachable']);
    expect((await bytesOf(found)).toString()).not.toContain('127.0.0.1');
    const next = await invoke(entry, { body: Buffer.from('x') });
    expect([next.status, next.failure, next.error?.code]).toEqual([503, 'overload', 'function.not-ready']);
    expect(next.retryAfterSeconds).toBeGreaterThanOrEqual(1);
    expect(status('away.test')).toMatchObject({ state: 'ready', replicas: 1, availableReplicas: 0 });
    await upstream((_request, response) => void response.end('back'), port);
    await expect.poll(() => status('away.test')?.availableReplicas).toBe(1);
    expect((await bytesOf(await invoke(entry))).toString()).toBe('back');
  });
});

describe('an upstream over TLS', () => {
  it('is called if its certificate is of the authority that is trusted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-tls-'));
    const server = createSecureServer(certificate(folder), (_request, response) => void response.end('secure'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    stack.push({ [Symbol.asyncDispose]: async () => server.close().closeAllConnections() });
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { deploy } = await bench();
    const trusted = await deploy('trusted.test', { url, tls: { ca: join(folder, 'ca.pem') } });
    expect((await bytesOf(await invoke(trusted))).toString()).toBe('secure');
    const stranger = await invoke(await deploy('stranger.test', { url }));
    expect([stranger.status, stranger.failure]).toEqual([502, 'connection']);
    await expect(deploy('lost.test', { url, tls: { ca: 'nowhere.pem' } })).rejects.toThrow('lost.test: tls.ca: ENOENT');
  });
});

describe('probes', () => {
  const quick = { interval: '20ms', timeout: '500ms' };

  it('take an upstream out while it is not well, and in again', async () => {
    let well = true;
    const [ill, other] = await Promise.all([
      upstream((request, response) => {
        response.statusCode = request.url === '/_/health' && !well ? 500 : 200;
        response.end();
      }),
      upstream((_request, response) => void response.end()),
    ]);
    const { deploy, status } = await bench();
    const urls = [`${ill.url}/base`, `${other.url}/base`];
    const entry = await deploy('probed.test', { urls, health: { ...quick, failures: 2 } });
    expect(status('probed.test')).toMatchObject({ state: 'ready', availableReplicas: 2 });
    well = false;
    await expect.poll(() => status('probed.test')?.availableReplicas).toBe(1);
    const before = ill.seen.filter((line) => line.startsWith('POST')).length;
    for (let call = 0; call < 4; call++) expect((await invoke(entry)).status).toBe(200);
    expect(ill.seen.filter((line) => line.startsWith('POST'))).toHaveLength(before);
    well = true;
    await expect.poll(() => status('probed.test')?.availableReplicas).toBe(2);
  });
  it('let a function be ready once an upstream has said so', async () => {
    let isReady = false;
    const { url } = await upstream((request, response) => {
      response.statusCode = request.url === '/_/ready' && !isReady ? 503 : 200;
      response.end();
    });
    const { deploy, status } = await bench();
    await deploy('probed.test', { url, ready: quick });
    expect(status('probed.test')).toMatchObject({ state: 'scaling', replicas: 1, availableReplicas: 0 });
    isReady = true;
    await expect.poll(() => status('probed.test')).toMatchObject({ state: 'ready', availableReplicas: 1 });
    isReady = false;
    await expect.poll(() => status('probed.test')).toMatchObject({ state: 'ready', availableReplicas: 0 });
  });
  it('that get no answer in time have a bad one', async () => {
    const { url } = await wire(() => undefined);
    const { deploy, status } = await bench();
    await deploy('probed.test', { url, health: { interval: '10ms', timeout: '20ms', failures: 2 } });
    await expect.poll(() => status('probed.test')?.availableReplicas).toBe(0);
  });
  it('end with their function', async () => {
    const { url, seen } = await upstream((_request, response) => void response.end());
    const { deploy, provider } = await bench();
    await deploy('probed.test', { url, health: quick });
    await expect.poll(() => seen.length).toBeGreaterThan(1);
    await provider.remove('probed.test');
    const { length } = seen;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(seen.length).toBeLessThanOrEqual(length + 1); // One may have been on its way.
  });
});
