import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { inlinePlugin, testGateway, type TestGateway } from '../support/gateway.ts';
import { bodyOf, type RunningServer, serve } from '../support/http-functions.ts';
import { sendRaw } from '../support/raw-client.ts';

/** 64 MiB in 64 KiB. */
const bomb = gzipSync(Buffer.alloc(64 * 2 ** 20));

let upstreams: readonly RunningServer[];
let running: TestGateway;
beforeAll(async () => {
  // Each says which it is and what it was asked for; `/bomb` answers one, whatever is asked.
  upstreams = await Promise.all(
    ['first', 'second'].map((name) =>
      serve(async (incoming, response) => {
        const body = await bodyOf(incoming);
        response.setHeader('service-worker-allowed', '/');
        if (incoming.url === '/bomb') response.setHeader('content-encoding', 'gzip').end(bomb);
        else response.end(`${name} ${incoming.url} ${body.length} ${String(incoming.headers['content-encoding'])}`);
      }),
    ),
  );
  const [first, second] = upstreams.map(({ url }) => url);
  running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { body: 1MiB, asyncBody: 128KiB } }
providers: { inline: { kind: inline-test }, http: { kind: http } }
functions:
  echo: { provider: inline, behaviour: echo }
  plain: { provider: http, url: "${first}" }
${functions.map(([name, host, path]) => `  ${name}: { provider: http, url: "${host === 'first' ? first : second}${path}" }`).join('\n')}
`);
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  for (const upstream of upstreams) await upstream[Symbol.asyncDispose]();
});

/** What joins to the same text in more than one way: name, upstream, path of its URL. */
const functions = [
  ['a', 'first', ''],
  ['a-b', 'second', ''],
  ['ab', 'first', '/a'],
  ['aa', 'second', '/a'],
  ['b', 'first', '/a/b'],
  ['ba', 'second', '/a/b'],
  ['bb', 'first', '/ab'],
  ['b-a', 'second', '/a/'],
] as const;

describe('a page that a function answers', () => {
  it('cannot take over the console, which has the same address, by a service worker', async () => {
    const { statusCode, headers, body } = await request(`${running.url}/function/plain/worker.js`);
    expect([statusCode, await body.text()]).toEqual([200, 'first /worker.js 0 undefined']);
    expect(headers).not.toHaveProperty('service-worker-allowed');
  });
});

describe('where a call goes (GHSA-v574-6498-x57v, CVE-2026-55602)', () => {
  it('depends on its function alone, whatever joins to the same text', async () => {
    const paths = [
      '',
      '/a',
      '/a/b',
      '/ab',
      '/b',
      '//a',
      '/a//b',
      '/a-b',
      '/first',
      '/a?/b',
      '?a=/b',
      '/http://127.0.0.1/a',
    ];
    const calls = functions.flatMap((one) => paths.map((path) => [one, path] as const));
    // Each of them twice, at once and in turns: what a cache keeps of one is there when the next one comes.
    const answers = await Promise.all(
      [...calls, ...calls.toReversed()].map(async ([[name, host, base], path]) => {
        const { body } = await request(`${running.url}/function/${name}${path}`);
        const folder = path.startsWith('/') ? base.replace(/\/$/, '') : base === '' ? '/' : base;
        return [await body.text(), `${host} ${folder}${path} 0 undefined`];
      }),
    );
    expect(answers.filter(([got, wanted]) => got !== wanted)).toEqual([]);
    expect(answers).toHaveLength(2 * functions.length * paths.length);
  });
});

describe('a body that is larger than it looks (CVE-2026-22036)', () => {
  const headers = { 'content-encoding': 'gzip, gzip, gzip, br' };
  it('is passed on as it came, to a function and from it', async () => {
    expect(bomb.length).toBeLessThan(128 * 1024);
    const echoed = await request(`${running.url}/function/echo`, { method: 'POST', headers, body: bomb });
    expect(bomb.equals(Buffer.from(await echoed.body.arrayBuffer()))).toBe(true);
    const sent = await request(`${running.url}/function/plain/x`, { method: 'POST', headers, body: bomb });
    expect(await sent.body.text()).toBe(`first /x ${bomb.length} gzip, gzip, gzip, br`);
    const answer = await request(`${running.url}/function/plain/bomb`, { headers: { 'accept-encoding': 'gzip' } });
    expect(answer.headers['content-encoding']).toBe('gzip');
    expect(bomb.equals(Buffer.from(await answer.body.arrayBuffer()))).toBe(true);
  });
  it('is queued, and kept as a result, as it came', async () => {
    for (const [name, wanted] of [
      ['echo', bomb],
      ['plain/x', Buffer.from(`first /x ${bomb.length} gzip, gzip, gzip, br`)],
    ] as const) {
      const options = { method: 'POST', headers: { ...headers, prefer: 'respond-async, wait=20' }, body: bomb };
      const { statusCode, body } = await request(`${running.url}/function/${name}`, options);
      expect([statusCode, wanted.equals(Buffer.from(await body.arrayBuffer()))]).toEqual([200, true]);
    }
  });
  it('is no body for the API', async () => {
    const options = {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: bomb,
    } as const;
    const { statusCode } = await request(`${running.url}/system/dead-letters/replay`, options);
    expect(statusCode).toBe(400);
    expect(gunzipSync(bomb)).toHaveLength(64 * 2 ** 20);
  });
});

describe('the media type of a body of the API (CVE-2022-39288, CVE-2025-32442, CVE-2026-3419)', () => {
  const ask = async (lines: string, body = '{"all":true}'): Promise<number | undefined> => {
    const head = `POST /system/dead-letters/replay HTTP/1.1\r\nHost: localhost\r\n${lines}Connection: close\r\n`;
    const bytes = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
    return (await sendRaw(Number(new URL(running.url).port), bytes, 1)).statuses[0];
  };
  it.each([
    'application/json',
    'Application/JSON',
    'application/json; charset=utf-8',
    'application/json;charset="utf-8"',
  ])('%j is the one', async (type) => expect(await ask(`Content-Type: ${type}\r\n`)).toBe(200));
  it.each([
    'application/jsonx',
    'application/json+x',
    'application/json x',
    'application/json/',
    'application/json, text/plain',
    'text/plain, application/json',
    'text/plain; application/json',
    'text/html;type=application/json',
    'xapplication/json',
    'application/',
    '/json',
    'application',
    '*/*',
    'application/*',
    'application/json-patch+json',
    'text/json',
    'multipart/form-data; boundary=application/json',
    'application/x-www-form-urlencoded',
    'application\\json',
    'application/%6ason',
    ';application/json',
    ',application/json',
    '"application/json"',
    '__proto__',
    'constructor',
    'toString',
    ';',
  ])('%j is 415', async (type) => expect(await ask(`Content-Type: ${type}\r\n`)).toBe(415));
  it('is 415 where there is none, and where there are two the first one counts', async () => {
    expect(await ask('')).toBe(415);
    expect(await ask('Content-Type: text/plain\r\nContent-Type: application/json\r\n')).toBe(415);
  });
  it('has no more than ten thousand names (CVE-2025-27209)', async () => {
    const named = (count: number): string => `{${Array.from({ length: count }, (_, index) => `"k${index}":1`).join()}}`;
    const bodyOfError = async (count: number): Promise<string> => {
      const { body } = await request(`${running.url}/system/dead-letters/replay`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: named(count),
      });
      return body.text();
    };
    expect(await bodyOfError(10_001)).toContain('more than 10000 names');
    expect(await bodyOfError(9000)).toContain('body');
    expect(await bodyOfError(9000)).not.toContain('more than');
  });
});

describe('a gateway in whose process nobody may write into what all objects share', () => {
  it('starts, runs, queues, refuses and stops', { timeout: 60_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-frozen-'));
    const file = join(folder, 'millrace.yaml');
    writeFileSync(
      file,
      `
plugins: [${inlinePlugin}]
gateway: { listen: { port: 0 }, management: { port: 0 } }
queues: { default: { kind: sqlite, path: ${join(folder, 'queue.db')} } }
stores: { default: { kind: memory } }
providers: { inline: { kind: inline-test }, http: { kind: http } }
connectors: { http: { kind: http } }
functions:
  echo: { provider: inline, behaviour: echo }
  plain: { provider: http, url: "${upstreams[0]?.url}" }
`,
    );
    const frozen = join(import.meta.dirname, '../support/frozen-prototypes.ts');
    const gateway = await startGateway(file, { NODE_OPTIONS: `--disable-proto=throw --import=${frozen}` });
    const ask = async (method: 'GET' | 'POST', path: string, body = '', headers = {}): Promise<[number, string]> => {
      const answer = await request(`${gateway.url}${path}`, { method, headers, ...(body !== '' && { body }) });
      return [answer.statusCode, await answer.body.text()];
    };
    // Not `__proto__`: Node itself reads that of its headers, which this flag forbids even there. hostile.test.ts has it.
    const odd = { constructor: 'y', prototype: 'z', hasOwnProperty: 'w' };
    const json = { 'content-type': 'application/json' };
    expect(await ask('POST', '/function/echo', 'x', odd)).toEqual([200, 'x']);
    expect(await ask('POST', '/function/plain/__proto__?__proto__=x&constructor=y', 'x', odd)).toEqual([
      200,
      'first /__proto__?__proto__=x&constructor=y 1 undefined',
    ]);
    expect(await ask('POST', '/function/echo', 'x', { ...odd, prefer: 'respond-async, wait=20' })).toEqual([200, 'x']);
    expect((await ask('GET', '/system/functions'))[0]).toBe(200);
    expect((await ask('GET', '/system/dead-letters?__proto__=1&constructor=2'))[0]).toBe(400);
    for (const body of ['{"__proto__":{"x":1}}', '{"constructor":{"prototype":{"x":1}}}']) {
      expect((await ask('POST', '/system/dead-letters/replay', body, json))[0]).toBe(400);
    }
    expect((await ask('GET', '/healthz'))[0]).toBe(200);
    expect(await stopGateway(gateway)).toBe(0);
    expect(gateway.log.filter((line) => /"level":[56]0|TypeError/.test(line))).toEqual([]);
    rmSync(folder, { recursive: true });
  });
});
