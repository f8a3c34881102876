import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';
import { startStrictServer, type StrictServer } from '../support/strict-server.ts';

let server: StrictServer;
let strangers: TestGateway;
let behindProxy: TestGateway;
beforeAll(async () => {
  server = await startStrictServer();
  const yaml = (trusted: string): string => `
gateway: { listen: { port: 0 }, management: { port: 0 } }
connectors:
  http: { kind: http, trustedProxies: ${trusted}, routes: [{ path: /route/:id, methods: [GET], function: behind }] }
providers: { http: { kind: http } }
functions: { behind: { provider: http, url: "http://127.0.0.1:${server.port}" } }
`;
  strangers = await testGateway(yaml('["10.0.0.0/8", "::1"]'));
  behindProxy = await testGateway(yaml('["127.0.0.0/8"]'));
});
afterAll(async () => {
  await strangers[Symbol.asyncDispose]();
  await behindProxy[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** The headers that the function got, name and value, as they stood there. */
async function got(
  { url }: TestGateway,
  headers: readonly string[],
  path = '/function/behind',
): Promise<[string, string][]> {
  const before = server.requests.length;
  const lines = ['Host: h.example', ...headers].map((line) => `${line}\r\n`).join('');
  const { statuses } = await sendRaw(Number(new URL(url).port), `GET ${path} HTTP/1.1\r\n${lines}\r\n`, 1, 1);
  expect(statuses).toEqual([200]);
  const [request] = server.requests.slice(before);
  return (request?.head.split('\r\n').slice(1) ?? []).map((line) => line.split(': ', 2) as [string, string]);
}

const ip = '203.0.113.7';
const address = /^127\.0\.0\.1:\d+$/;
const id = /^[0-9A-Z]{26}$/;
/** What the gateway adds, and what that looks like. */
const added = {
  'x-forwarded-for': address,
  'x-forwarded-host': /^h\.example$/,
  'x-call-id': id,
  'x-start-time': /^\d{19}$/,
  'x-invocation-id': id,
} as const;
const upper = (name: string): string => name.replaceAll(/(^|-)[a-z]/g, (part) => part.toUpperCase());
/** As a server sees it that takes headers for variables. */
const variable = (name: string): string => name.toLowerCase().replaceAll('-', '_');

describe('what the gateway says of a call', () => {
  // reply-from c815dc4, CVE-2024-45410: named in Connection. CVE-2026-29054, -33433, -30851: in another case, with `_`.
  it.each(
    Object.keys(added).flatMap(
      (name) =>
        [
          [name, [`Connection: ${name}`]],
          [name, [`Connection: close, ${upper(name)}`, `${name}: ${ip}`]],
          [name, [`connection:${name.toUpperCase()}`, `${name.toUpperCase()}: ${ip}`]],
          [name, [`Connection: ${name}`, `Connection: close`, `${name}: ${ip}`, `${upper(name)}: ${ip}`]],
          [name, [`Connection: ${variable(name)}`, `${variable(name)}: ${ip}`]],
          [name, [`${upper(variable(name))}: ${ip}`, `${variable(name).toUpperCase()}: ${ip}`]],
          [name, [`${name.replace('-', '_')}: ${ip}`, `${name.replace(/-(?=[^-]*$)/, '_')}: ${ip}`]],
        ] as [keyof typeof added, string[]][],
    ),
  )('%s is there once, whatever comes with it: %j', async (name, headers) => {
    const found = (await got(strangers, headers)).filter(([each]) => variable(each) === variable(name));
    expect(found).toEqual([[name, expect.stringMatching(added[name])]]);
  });

  it('is not for strangers to say', async () => {
    const forged = ['X-Invocation-Id', 'X-Retry', 'X-Start-Time', 'x_retry', 'X_Invocation-Id'].map(
      (name) => `${name}: 7`,
    );
    const headers = await got(strangers, forged);
    expect(headers.filter(([, value]) => value === '7')).toEqual([]);
    const parameters = await got(strangers, ['X-Param-Id: 7', 'X_Param_Id: 7', 'x-param_id: 7'], '/route/9');
    expect(parameters.filter(([name]) => variable(name) === 'x_param_id')).toEqual([['x-param-id', '9']]);
  });
});

describe('what a proxy says of the caller before it (CVE-2026-3635, CVE-2026-35051)', () => {
  const said = {
    Forwarded: `for=${ip}`,
    'X-Forwarded-For': ip,
    'X-Forwarded-Host': 'other.example',
    'X-Forwarded-Proto': 'https',
    'X-Forwarded-Port': '443',
    'X-Real-Ip': ip,
  };
  const lines = Object.entries(said).map(([name, value]) => `${name}: ${value}`);

  it('is taken from nobody by default', async () => {
    const headers = new Map(await got(strangers, lines));
    expect(headers.get('x-forwarded-for')).toMatch(address);
    expect(headers.get('x-forwarded-host')).toBe('h.example');
    for (const name of ['forwarded', 'x-forwarded-proto', 'x-forwarded-port', 'x-real-ip']) {
      expect(headers.has(name)).toBe(false);
    }
  });

  it('is passed on where the proxy is trusted', async () => {
    const headers = new Map(await got(behindProxy, lines));
    for (const [name, value] of Object.entries(said)) expect(headers.get(name.toLowerCase())).toBe(value);
    expect(new Map(await got(behindProxy, [])).get('x-forwarded-for')).toMatch(address);
  });

  it.each(['10.0.0.0/33', 'proxy.example', '10.0.0', '::/129', '10.0.0.0/8/8', '10.0.0.0/x', ''])(
    'has to come from an address or a network, not %j',
    async (entry) => {
      const yaml = `connectors: { http: { kind: http, trustedProxies: ["${entry}"] } }`;
      await expect(testGateway(yaml)).rejects.toThrow('expected an address or a network such as 10.0.0.0/8');
    },
  );
});
