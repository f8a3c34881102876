import { connect } from 'node:net';
import fc from 'fast-check';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seeded } from '../chaos/random.ts';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { seed } from '../support/promise.ts';

let running: TestGateway;
beforeAll(async () => {
  running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { body: 64KiB, asyncBody: 16KiB } }
functions: { echo: { behaviour: echo } }
`);
});
afterAll(() => running[Symbol.asyncDispose]());

/** Sends the bytes as they are; resolves with all that comes back before the connection ends, or is quiet for a while. */
function raw(bytes: string | Buffer): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(Number(new URL(running.url).port), '127.0.0.1', () => socket.write(bytes));
    socket.setTimeout(400, () => socket.destroy());
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.on('error', () => undefined); // A reset is an answer too.
    socket.on('close', () => resolve(text));
  });
}

const statuses = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));
const alive = async () => {
  const { statusCode, body } = await request(`${running.url}/function/echo`, { method: 'POST', body: 'alive' });
  return [statusCode, await body.text()];
};
const head = 'Host: 127.0.0.1\r\n';

describe('requests that ask for what is not offered', () => {
  it.each([
    ['CONNECT', `CONNECT example.com:443 HTTP/1.1\r\n${head}\r\n`, [405, 400]],
    ['TRACE', `TRACE /function/echo HTTP/1.1\r\n${head}\r\n`, [404, 405]],
    ['an absolute URL', `GET http://example.com/function/echo HTTP/1.1\r\n${head}\r\n`, [200]],
    ['HTTP/0.9', 'GET /function/echo\r\n\r\n', [200, 400, 505]],
    ['HTTP/2 without negotiation', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400, 505]],
    ['TLS', Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]), [400]],
    ['a header of 20 KiB', `GET /function/echo HTTP/1.1\r\n${head}X-A: ${'a'.repeat(20_000)}\r\n\r\n`, [431, 400]],
    ['a URL of 20 KiB', `GET /function/echo/${'a'.repeat(20_000)} HTTP/1.1\r\n${head}\r\n`, [431, 400, 414]],
  ])('%s', async (_name, bytes, allowed) => {
    const found = statuses(await raw(bytes));
    expect(found.length).toBeLessThanOrEqual(1);
    for (const status of found) expect(allowed).toContain(status);
    expect(await alive()).toEqual([200, 'alive']);
  });
  it.each(['__proto__', 'constructor', 'hasOwnProperty', 'toString'])('a header named %s', async (name) => {
    const found = statuses(await raw(`POST /function/echo HTTP/1.1\r\n${head}${name}: x\r\nConnection: close\r\n\r\n`));
    expect(found).toEqual([200]);
    const queued = statuses(
      await raw(`POST /async-function/echo HTTP/1.1\r\n${head}${name}: x\r\nConnection: close\r\n\r\n`),
    );
    expect(queued).toEqual([202]);
    expect(await alive()).toEqual([200, 'alive']);
  });
});

describe('200 malformed requests', () => {
  it('each get a clear 4xx or a closed connection, and the process lives', { timeout: 120_000 }, async () => {
    const random = seeded(4242);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
    const targets = [
      ['POST', '/async-function/echo', { 'x-priority': pick(['11', '-1', 'a', '1.5', '']) }],
      ['POST', '/async-function/echo', { 'x-delay': pick(['1', 'x', '-5s', '1y', 'P', '99999999d']) }],
      ['POST', '/async-function/echo', { 'x-max-age': 'never' }],
      ['POST', '/async-function/echo', { 'x-timeout': 'NaN' }],
      ['POST', '/async-function/echo', { 'x-order-key': 'k'.repeat(300) }],
      ['POST', '/async-function/echo', { 'idempotency-key': '' }],
      ['POST', '/async-function/echo', { 'x-callback-url': 'ftp://127.0.0.1/' }],
      ['POST', '/async-function/echo', { 'x-callback-url': 'http://[::ffff:169.254.169.254]/' }],
      ['POST', '/function/echo', { 'x-invoke-mode': 'maybe' }],
      ['POST', '/function/..%2f..%2fetc', {}],
      ['POST', '/function/', {}],
      ['POST', '/function/a%00b', {}],
      ['GET', '/async-function/echo', {}],
      ['GET', '/invocations/nope', {}],
      ['GET', '/invocations/%00', {}],
      ['GET', '/invocations/01ARZ3NDEKTSV4RRFFQ69G5FAV?wait=forever', {}],
      ['GET', '/invocations/01ARZ3NDEKTSV4RRFFQ69G5FAV/result', {}],
      ['DELETE', '/invocations/x', {}],
      ['GET', '/system/dead-letters?limit=-1', {}],
      ['GET', '/system/dead-letters?limit=abc&cursor=%%%', {}],
      ['GET', '/system/dead-letters?cursor=zzz', {}],
      ['GET', '/system/dead-letters?reason=boredom', {}],
      ['GET', '/system/dead-letters/%2e%2e', {}],
      ['DELETE', '/system/dead-letters', {}],
      ['POST', '/system/queues/nope/pause', {}],
      ['POST', '/system/queues/echo/explode', {}],
      ['PATCH', '/system/queues', {}],
      ['GET', '/nowhere', {}],
      ['POST', '/system/dead-letters/replay', { 'content-type': 'text/plain', body: 'x' }],
      ['POST', '/system/dead-letters/replay', { 'content-type': 'application/json', body: '{"a":' }],
      ['POST', '/system/dead-letters/replay', { 'content-type': 'application/json', body: '{"__proto__":{"x":1}}' }],
      [
        'POST',
        '/system/dead-letters/replay',
        { 'content-type': 'application/json', body: `${'['.repeat(20_000)}${']'.repeat(20_000)}` },
      ],
      ['POST', '/system/dead-letters/replay', { 'content-type': 'application/json', body: '{"limit":"all"}' }],
    ] as const;
    let answered = 0;
    for (let round = 0; round < 200; round++) {
      const [method, path, { body = '', ...headers }] = targets[round % targets.length] as unknown as [
        string,
        string,
        Record<string, string> & { body?: string },
      ];
      const lines = Object.entries({ ...headers, 'x-noise': String(random()) }).map(
        ([name, value]) => `${name}: ${value}\r\n`,
      );
      const text = await raw(
        `${method} ${path} HTTP/1.1\r\n${head}Connection: close\r\nContent-Length: ${body.length}\r\n${lines.join('')}\r\n${body}`,
      );
      const [status = 0] = statuses(text);
      expect([status, path, text.slice(0, 300)]).toEqual([
        expect.toSatisfy((one: number) => one >= 400 && one < 500),
        path,
        expect.anything(),
      ]);
      if (method !== 'HEAD' && status !== 405)
        expect(text).toMatch(/"code"\s*:\s*"[a-z-]+\.[a-z-]+"|invalid credentials/);
      answered++;
    }
    expect(answered).toBe(200);
    expect(await alive()).toEqual([200, 'alive']);
  });
  it('and 60 random ones end in an answer or a closed connection', { timeout: 180_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.string({ maxLength: 200, unit: 'binary' }), fc.string({ maxLength: 200 })),
        fc.constantFrom(
          '',
          'GET ',
          'POST /function/echo HTTP/1.1\r\n',
          `POST /async-function/echo HTTP/1.1\r\n${head}`,
        ),
        async (noise, prefix) => {
          for (const status of statuses(await raw(`${prefix}${noise}\r\n\r\n`))) expect(status).not.toBe(500);
        },
      ),
      { numRuns: 60, seed },
    );
    expect(await alive()).toEqual([200, 'alive']);
  });
});
