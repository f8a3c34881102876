import type { LookupAddress, LookupAllOptions } from 'node:dns';
import dns from 'node:dns/promises';
import { syncBuiltinESMExports } from 'node:module';
import { Webhook } from 'standardwebhooks';
import { request } from 'undici';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hostAddresses, refusedUrls } from '../support/callback-urls.ts';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';
import { bodyOf, type Handler, type RunningServer, serve } from '../support/http-functions.ts';
import { ran, ranHeaders } from '../support/plugins/inline.ts';

/** A whole gateway, and name servers of the attacker's. */

const systemLookup = dns.lookup;
/** By name: what is answered the first time, the second time and so on; the last one from then on. */
const answers = new Map<string, readonly (readonly string[])[]>();
const asked: string[] = [];

async function lookup(hostname: string, options: LookupAllOptions): Promise<LookupAddress[]> {
  const known = hostAddresses[hostname.replace(/\.$/, '')];
  const all = answers.get(hostname) ?? (known && [known]);
  if (!all) return systemLookup(hostname, options);
  asked.push(hostname);
  const times = asked.filter((one) => one === hostname).length;
  return (all[times - 1] ?? all.at(-1) ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
}

beforeAll(() => {
  Object.assign(dns, { lookup });
  syncBuiltinESMExports();
});
afterAll(() => {
  Object.assign(dns, { lookup: systemLookup });
  syncBuiltinESMExports();
});

const cleanups: AsyncDisposable[] = [];
beforeEach(() => {
  for (const each of [ran, ranHeaders, asked]) each.length = 0;
  answers.clear();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup[Symbol.asyncDispose]();
});

const secret = 'whsec_YSBzZWNyZXQgb2YgdGhlIHNpbms=';
async function gatewayWith(allow: readonly string[]): Promise<TestGateway> {
  const gateway = await testGateway(`
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  callbacks: { allow: ${JSON.stringify(allow)}, internal: [gateway.openfaas], secret: "${secret}" }
functions: { echo: { behaviour: echo }, show: { behaviour: show }, record: { behaviour: record } }
`);
  cleanups.push(gateway);
  return gateway;
}

async function sinkThat(handler: Handler): Promise<RunningServer> {
  const sink = await serve(handler);
  cleanups.push(sink);
  return sink;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function call(
  gateway: TestGateway,
  name: string,
  url: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const { statusCode, body } = await request(`${gateway.url}/async-function/${name}`, {
    method: 'POST',
    headers: { 'x-callback-url': url, ...headers },
    body: 'the outcome',
  });
  return { status: statusCode, text: await body.text() };
}

interface Letter {
  readonly function: string;
  readonly reason: string;
  readonly errors: readonly { readonly code: string; readonly message: string }[];
}

/** Of the callback that nobody took. */
function letterOf({ url }: TestGateway): Promise<Letter> {
  return eventually(async () => {
    const { items } = (await (await request(`${url}/system/dead-letters`)).body.json()) as { items: Letter[] };
    return items.find((letter) => letter.function === 'callback.millrace');
  });
}

describe('a callback to a name', () => {
  it.each([
    ['that is rebound when it is called', [['93.184.215.14'], ['127.0.0.1']]],
    ['of which one address is public', [['93.184.215.14'], ['93.184.215.14', '127.0.0.1']]],
    ['of which one address is mapped (CVE-2026-44492)', [['93.184.215.14'], ['::ffff:127.0.0.1']]],
  ])('%s goes nowhere', async (_how, addresses) => {
    let reached = 0;
    const { url } = await sinkThat((_request, response) => void response.end(String(reached++)));
    answers.set('rebound.test', addresses);
    const gateway = await gatewayWith([]);
    const { status } = await call(gateway, 'echo', url.replace('127.0.0.1', 'rebound.test'));
    expect(status).toBe(202); // By then it was well.
    expect(await letterOf(gateway)).toMatchObject({ reason: 'permanent', errors: [{ code: 'callback.refused' }] });
    expect(asked).toEqual(['rebound.test', 'rebound.test']);
    expect(reached).toBe(0);
  });

  it('would get there if the name alone were looked at', async () => {
    let reached = 0;
    const { url } = await sinkThat((_request, response) => void response.end(String(reached++)));
    answers.set('rebound.test', [['93.184.215.14'], ['127.0.0.1']]);
    const gateway = await gatewayWith(['rebound.test']); // What is allowed by its name is looked at no further.
    expect((await call(gateway, 'echo', url.replace('127.0.0.1', 'rebound.test'))).status).toBe(202);
    await eventually(() => (reached === 1 ? true : undefined));
  });

  it('goes to the address that was looked at, with one look for one connection', async () => {
    const hosts: unknown[] = [];
    const { url } = await sinkThat((incoming, response) => {
      hosts.push(incoming.headers.host);
      response.end();
    });
    // A second look for the same connection would find an address where nobody is.
    answers.set('steady.test', [['127.0.0.1'], ['127.0.0.1'], ['10.255.255.1']]);
    const gateway = await gatewayWith(['127.0.0.1']);
    const target = url.replace('127.0.0.1', 'steady.test');
    expect((await call(gateway, 'echo', target)).status).toBe(202);
    await eventually(() => (hosts.length > 0 ? true : undefined));
    expect(hosts).toEqual([new URL(target).host]);
    expect(asked).toEqual(['steady.test', 'steady.test']);
  });
});

describe('a callback URL that leads astray', () => {
  // What cannot stand in a header as it is cannot come this way: test/unit/callback-guard.test.ts has it as well.
  const sendable = refusedUrls.filter((url) => /^[\x21-\x7e]+$/.test(url));

  it('is refused before anything is accepted, in words that do not tell what a name stands for', async () => {
    expect(sendable.length).toBeGreaterThan(80);
    const gateway = await gatewayWith([]);
    for (const url of sendable) {
      const { status, text } = await call(gateway, 'record', url);
      expect([url, status, text]).toEqual([url, 400, expect.stringContaining('callback.refused')]);
      for (const address of hostAddresses[URL.parse(url)?.hostname ?? ''] ?? []) expect(text).not.toContain(address);
    }
    expect(ran).toEqual([]);
    expect((await call(gateway, 'record', 'http://example.com:8080/')).status).toBe(202);
  });

  it('is no way to the gateway itself, but for its functions, which get no credentials', async () => {
    const gateway = await gatewayWith([]);
    const { port } = new URL(gateway.url);
    for (const path of ['/system/functions', '/invocations/x', '/function/callback.millrace', '/healthz']) {
      for (const host of [`127.0.0.1:${port}`, `localhost:${port}`])
        expect([path, (await call(gateway, 'echo', `http://${host}${path}`)).status]).toEqual([path, 400]);
    }
    const credentials = { authorization: 'Basic YWRtaW46YWRtaW4=', cookie: 'session=1', 'proxy-authorization': 'x' };
    const { status } = await call(gateway, 'echo', 'http://gateway.openfaas:8080/function/record', credentials);
    expect(status).toBe(202);
    await eventually(() => (ran.includes('the outcome') ? true : undefined));
    for (const name of Object.keys(credentials)) expect(ranHeaders[0]).not.toHaveProperty(name);
    expect(ranHeaders[0]).toHaveProperty('x-function-status', '200');
  });
});

describe('the receiver of a callback', () => {
  it('can tell it from a forged one, and gets no credentials of the caller', async () => {
    const got = Promise.withResolvers<{ headers: Record<string, string>; body: string }>();
    const { url } = await sinkThat(async (incoming, response) => {
      got.resolve({ headers: incoming.headers as Record<string, string>, body: (await bodyOf(incoming)).toString() });
      response.end();
    });
    const gateway = await gatewayWith(['127.0.0.1']);
    await call(gateway, 'show', url, { authorization: 'Bearer of the caller', cookie: 'session=1' });
    const { headers, body } = await got.promise;
    // The function was shown them, and answers with what it was shown; its headers are its own.
    expect(new Webhook(secret).verify(body, headers)).toMatchObject({ body: 'the outcome' });
    expect(() => new Webhook(secret).verify(body.replace('outcome', 'forgery'), headers)).toThrow('No matching');
    expect(JSON.stringify(headers)).not.toMatch(/of the caller|session/);
  });

  it.each([301, 307, 308])('cannot send it elsewhere by a %i', async (status) => {
    let reached = 0;
    const inside = await sinkThat((_request, response) => void response.end(String(reached++)));
    const { url } = await sinkThat(
      (_request, response) => void response.writeHead(status, { location: inside.url }).end(),
    );
    const gateway = await gatewayWith(['127.0.0.1']);
    expect((await call(gateway, 'echo', url)).status).toBe(202);
    expect(await letterOf(gateway)).toMatchObject({ reason: 'permanent', errors: [{ code: 'callback.refused' }] });
    expect(reached).toBe(0);
  });
});
