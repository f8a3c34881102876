import { afterEach, expect, test } from 'vitest';
import { pino } from 'pino';
import { apiRoutes } from '../../core/api/management.ts';
import { PublicServer } from '../../core/api/server.ts';
import { callerLimits } from '../../core/config/caller-limits.ts';
import type { AuthConfig } from '../../core/config/auth.ts';
import { testAuthenticator } from '../support/authenticator.ts';
import { rawExchange, startApi, type TestApi } from './api-server.ts';

let api: TestApi | undefined;
afterEach(async () => {
  await api?.close();
  api = undefined;
});

const basic = { basic: { user: 'admin', password: 'correct horse' } };
const header = (text: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(text).toString('base64')}`,
});

/** Those that are answered. */
function registered({ server }: TestApi): { method: string; url: string; auth: unknown }[] {
  return server.api.all().flatMap(({ methods, path: url, auth }) => methods.map((method) => ({ method, url, auth })));
}

test('every route of the router refuses without credentials, unless it is one of the few public ones', async () => {
  api = await startApi({ auth: basic });
  const open = new Set([
    '/',
    '/ui/',
    '/ui/:file',
    '/healthz',
    '/readyz',
    '/invocations/:id',
    '/invocations/:id/result',
    '/async-function/:id',
  ]);
  const routes = registered(api);
  expect(routes).toHaveLength(apiRoutes.length);
  for (const { method, url } of routes) {
    const path = url.replaceAll(/:\w+/g, 'x');
    for (const headers of [
      {},
      header('admin:wrong'),
      header('wrong:correct horse'),
      header('admin'),
      { authorization: 'Bearer ' },
    ]) {
      const { status, headers: got, text } = await api.send(method, path, { headers });
      if (open.has(url)) {
        expect(status, `${method} ${url}`).not.toBe(401);
      } else {
        expect([status, text, got['www-authenticate']], `${method} ${url}`).toEqual([
          401,
          'invalid credentials',
          'Basic realm="Restricted"',
        ]);
      }
    }
  }
});

test('the router holds what the table does, and nothing else', async () => {
  api = await startApi();
  const table = apiRoutes.map(({ method, path, auth }) => ({
    method,
    url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
    auth,
  }));
  expect(registered(api)).toEqual(table);
});

test('the right credentials open, with and without spaces or colons in the password', async () => {
  api = await startApi({ auth: { basic: { user: 'admin', password: 'a:b c' } } });
  expect((await api.send('GET', '/system/queues', { headers: header('admin:a:b c') })).status).toBe(200);
  expect((await api.send('GET', '/system/queues', { headers: header('admin:a') })).status).toBe(401);
});

test('without credentials an empty bearer token, as faas-cli sends it, is ignored', async () => {
  api = await startApi();
  expect((await api.send('GET', '/system/functions', { headers: { authorization: 'Bearer ' } })).status).toBe(200);
});

test('a route that does not say who may use it cannot be registered', () => {
  const { api: server } = new PublicServer({
    authenticator: testAuthenticator(),
    logger: pino({ level: 'silent' }),
    listenHost: '127.0.0.1',
  });
  const add = (path: string, auth?: unknown) => () =>
    server.add({ methods: ['GET'], path, handle: (_request, response) => void response.end(), auth: auth as 'public' });
  for (const auth of [undefined, 'nobody', [], ['operate', 'nobody']]) {
    expect(add('/anything', auth), String(auth)).toThrow('does not declare "auth"');
  }
  expect(add('/system/x', 'public')).toThrow('does not declare');
  expect(add('/system/x', 'function')).toThrow('does not declare');
  expect(add('/systematic', 'public')).not.toThrow();
  expect(add('/systematic', 'public')).toThrow('already declared');
  expect(add('nowhere', 'public')).toThrow('nowhere');
  server.all();
  expect(add('/late', 'public')).toThrow('after its start');
});

test('without credentials the gateway listens on loopback only', () => {
  const logger = pino({ level: 'silent' });
  for (const listenHost of ['0.0.0.0', '::', '192.168.1.2', 'example.org', '127.0.0.1.example.org']) {
    const made = (auth: 'none' | AuthConfig) => () =>
      new PublicServer({ authenticator: testAuthenticator(auth), logger, listenHost });
    expect(made('none'), listenHost).toThrow('loopback');
    expect(made(basic), listenHost).not.toThrow();
  }
});

test('without credentials /system answers to localhost only, so that no name can be rebound to it', async () => {
  api = await startApi();
  const { port } = api;
  const ask = (host: string, path = '/system/queues'): Promise<string> =>
    rawExchange(port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  for (const host of ['localhost', 'LOCALHOST:8080', '127.0.0.1', `127.0.0.1:${port}`, '[::1]:1']) {
    expect(await ask(host), host).toContain(' 200 OK');
  }
  for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:8080', '10.0.0.1', '']) {
    expect(await ask(host), host).toMatch(/ 40[03] /);
  }
  expect(await ask('evil.example', '/healthz')).toContain(' 200 OK');
});

test('a web page of another origin may change nothing', async () => {
  api = await startApi();
  const { port } = api;
  const post = (origin: string): ReturnType<TestApi['send']> | undefined =>
    api?.send('POST', '/system/queues/echo/pause', { headers: { origin } });
  for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1', `http://127.0.0.1:${port}.evil`, 'x']) {
    const answer = await post(origin);
    expect([answer?.status, answer?.json?.error?.code], origin).toEqual([403, 'request.forbidden']);
  }
  expect((await post(`http://127.0.0.1:${port}`))?.status).toBe(200);
  const read = await api.send('GET', '/system/queues', { headers: { origin: 'http://evil.example' } });
  expect(read.status).toBe(200);
  expect(read.headers['access-control-allow-origin']).toBeUndefined();
});

test('bodies are application/json, or refused', async () => {
  api = await startApi();
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/json+x',
    'text/json',
    'a b',
    ' ',
  ]) {
    const answer = await api.send('POST', '/system/dead-letters/replay', {
      body: '{}',
      headers: { 'content-type': type },
    });
    expect([answer.status, answer.json.error.code], type).toEqual([415, 'request.media-type']);
  }
  const utf8 = { 'content-type': 'application/json; charset=utf-8' };
  const answer = await api.send('POST', '/system/dead-letters/replay', { body: '{"all":true}', headers: utf8 });
  expect(answer.status).toBe(200);
});

test('bad JSON is refused in words, and the gateway lives', async () => {
  api = await startApi();
  const headers = { 'content-type': 'application/json' };
  const deep = `{"function":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
  for (const body of [
    '{',
    'nul',
    '[]',
    '"x"',
    '{"__proto__":{"all":true}}',
    '{"constructor":{"prototype":{}}}',
    '{"\\u005f_proto__":{"all":true}}',
    deep,
    Buffer.from([0x7b, 0xff, 0xfe, 0x7d]),
    '{"all":true,"limit":0}',
    '{"all":true,"limit":1e9}',
    '{"all":"yes"}',
    '{"all":true,"reson":"loop"}',
    '{"function":"a b"}',
    '{}',
  ]) {
    const answer = await api.send('POST', '/system/dead-letters/replay', { body, headers });
    expect([answer.status, answer.json.error.code], String(body).slice(0, 60)).toEqual([400, 'request.invalid']);
    expect(answer.text.length).toBeLessThan(500);
  }
  expect((await api.send('GET', '/healthz')).text).toBe('OK');
});

test('a body over the limit is refused', async () => {
  api = await startApi({ server: { bodyLimit: 1000 } });
  const answer = await api.send('POST', '/system/dead-letters/replay', { json: { function: 'x'.repeat(2000) } });
  expect([answer.status, answer.json.error.code]).toEqual([413, 'limit.body']);
});

test('bad queries are refused in words', async () => {
  api = await startApi();
  for (const path of [
    '/system/dead-letters?limit=0',
    '/system/dead-letters?limit=501',
    '/system/dead-letters?limit=1e2',
    '/system/dead-letters?limit=10&limit=20',
    '/system/dead-letters?cursor=!!!',
    '/system/dead-letters?cursor=bnVsbA',
    '/system/dead-letters?reason=because',
    '/system/dead-letters?functon=echo',
    '/system/dead-letters?function=a%0d%0ab',
    '/system/dead-letters?__proto__=1',
    '/system/queues?verbose=1',
    '/system/events?type=everything',
    `/system/function/${'x'.repeat(200)}`,
    '/system/function/a%20b',
  ]) {
    const answer = await api.send('GET', path);
    expect([answer.status, answer.json.error.code], path).toEqual([400, 'request.invalid']);
    expect(answer.json.error.message).not.toMatch(/[\r\n]/);
  }
});

test('what is no HTTP, too large or a tunnel is refused, and the gateway lives', async () => {
  api = await startApi();
  const { port } = api;
  expect(await rawExchange(port, 'nonsense\r\n\r\n')).toContain(' 400 ');
  expect(await rawExchange(port, `GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`)).toContain(' 431 ');
  expect(await rawExchange(port, 'CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n')).toContain(' 405 ');
  expect(await rawExchange(port, 'GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).toContain(' 400 ');
  const upgrade = 'GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n';
  expect(await rawExchange(port, upgrade)).toMatch(/^HTTP\/1\.1 200 /);
  const many = Array.from({ length: 1500 }, (_, index) => `h${index}: 1\r\n`).join('');
  const proto = `GET /healthz HTTP/1.1\r\nHost: a\r\n__proto__: x\r\nconstructor: y\r\n${many}Connection: close\r\n\r\n`;
  expect(await rawExchange(port, proto)).toMatch(/^HTTP\/1\.1 (200|431) /);
  expect((await api.send('GET', '/healthz')).status).toBe(200);
});

test('a body that stops coming ends the connection; one that goes on slowly does not', async () => {
  api = await startApi({ server: { limits: callerLimits.parse({ idle: '150ms' }) } });
  const head = 'POST /system/dead-letters/replay HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
  const began = performance.now();
  expect(await rawExchange(api.port, `${head}Content-Length: 50\r\n\r\n{"all"`)).toBe('');
  expect(performance.now() - began).toBeLessThan(5000);
  const { connect } = await import('node:net');
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(api?.port ?? 0, '127.0.0.1', () => {
      socket.write(`${head}Connection: close\r\nContent-Length: 12\r\n\r\n`);
      let sent = 0;
      const timer = setInterval(() => {
        socket.write('{"all":true}'.slice(sent, sent + 2));
        sent += 2;
        if (sent >= 12) clearInterval(timer);
      }, 60);
    });
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('close', () => resolve(text));
  });
  expect(answer).toContain(' 200 ');
});

test('what nobody reads of a body ends with its connection, however fast it comes (CVE-2024-22019)', async () => {
  api = await startApi({ server: { limits: { ...callerLimits.parse({}), idle: 150, bodyTime: 300 } } });
  const { connect } = await import('node:net');
  const socket = connect(api.port, '127.0.0.1');
  socket.write('POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n');
  const pushing = setInterval(() => socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'), 5);
  let text = '';
  socket.on('data', (chunk) => (text += chunk.toString()));
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.on('close', resolve));
  clearInterval(pushing);
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 404']);
});

test('line breaks in names stay one line of the log and out of headers', async () => {
  api = await startApi({
    routes: (routes) =>
      routes.add({
        methods: ['GET'],
        path: '/broken',
        auth: 'public',
        handle: () => {
          throw new Error('secret detail\r\n{"level":60,"msg":"forged"}');
        },
      }),
  });
  const answer = await api.send('GET', '/broken?x=%0d%0aforged');
  expect([answer.status, answer.json.error.code]).toEqual([500, 'internal']);
  expect(answer.text).not.toContain('secret detail');
  const lines = api.log.join('').trim().split('\n');
  for (const line of lines) expect(() => JSON.parse(line)).not.toThrow();
  expect(lines.filter((line) => JSON.parse(line).level === 50)).toHaveLength(1);
  const pause = await api.send('POST', '/system/queues/a%0d%0aSet-Cookie:x/pause');
  expect(pause.status).toBe(400);
  expect(pause.headers['set-cookie']).toBeUndefined();
});

test('no route, no method: JSON that says so', async () => {
  api = await startApi();
  for (const [method, path] of [
    ['GET', '/nothing'],
    ['PUT', '/system/queues'],
    ['GET', '/system'],
  ] as const) {
    const answer = await api.send(method, path);
    expect([answer.status, typeof answer.json.error.message], path).toEqual([404, 'string']);
  }
});
