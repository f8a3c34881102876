import { createHmac } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createToken, digestOf } from '../../core/auth/token.ts';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';
import { startIssuer } from '../support/issuer-server.ts';
import { ran, ranHeaders } from '../support/plugins/inline.ts';

const caller = createToken();
const stranger = createToken();
const deployer = createToken();
const admin = `Basic ${Buffer.from('admin:correct horse').toString('base64')}`;

const auth = `
  auth:
    basic: { user: admin, password: correct horse }
    tokens:
      - { name: caller, token: ${caller}, scopes: [invoke], namespaces: [openfaas-fn] }
      - { name: stranger, hash: "sha256:${digestOf(stranger)}", scopes: [invoke], namespaces: [other] }
      - { name: deployer, hash: "sha256:${digestOf(deployer)}", scopes: [deploy], namespaces: ["*"] }`;
const gatewayOf = (more = ''): string => `
gateway:
  listen: { port: 0 }
  management: { port: 0 }${more}${auth}`;
const rest = `
functions:
  open: { behaviour: show }
  closed: { behaviour: record, auth: token }
  shown: { behaviour: show, annotations: { millrace.dev/auth: token } }
  theirs.other: { behaviour: show, auth: token }
  events: { behaviour: record, auth: event-only }
  told: { behaviour: record }
  before: { behaviour: echo, invoke: { onSuccess: [{ function: events }] } }
connectors:
  web:
    kind: http
    routes:
      - { path: /hook, function: events, mode: sync, verify: { scheme: hmac, header: x-mac, secret: key } }
      - { path: /hook-closed, function: closed, mode: sync, verify: { scheme: hmac, header: x-mac, secret: key } }
      - { path: /plain, function: events }
      - { path: /api/:id, function: shown }
`;

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

let running: TestGateway;
beforeAll(async () => {
  running = await testGateway(gatewayOf() + rest);
});
afterAll(() => running[Symbol.asyncDispose]());
beforeEach(() => {
  ran.length = 0;
  ranHeaders.length = 0;
});

async function call(path: string, authorization?: string, more: Record<string, string> = {}): Promise<Answer> {
  const { statusCode, headers, body } = await request(`${running.url}${path}`, {
    method: 'POST',
    headers: { ...more, ...(authorization !== undefined && { authorization }) },
    body: 'it ran',
  });
  return { status: statusCode, headers, text: await body.text() };
}

const metric = async (reason: string): Promise<number> => {
  const { body } = await request(`${running.gateway.managementUrl}/metrics`);
  const line = new RegExp(`^millrace_auth_failures_total\\{reason="${reason}"\\} (\\d+)$`, 'm');
  return Number(line.exec(await body.text())?.[1]);
};

/** Nothing waits any more, so that whatever was to run has. */
const drained = (): Promise<true> =>
  eventually(async () => {
    const { body } = await request(`${running.url}/system/queues`, { headers: { authorization: admin } });
    const rows = (await body.json()) as { ready: number; leased: number; delayed: number }[];
    return rows.every(({ ready, leased, delayed }) => ready + leased + delayed === 0) ? true : undefined;
  });

describe('a public function', () => {
  it('is called by anybody, and gets what was meant for it', async () => {
    expect((await call('/function/open')).status).toBe(200);
    for (const authorization of ['Bearer of the function', `Bearer ${caller}`, 'Basic nonsense']) {
      const { status, text } = await call('/function/open', authorization);
      expect([status, JSON.parse(text).headers.authorization]).toEqual([200, authorization]);
    }
  });
});

describe('a function that takes a token', () => {
  it.each([
    '/function/closed',
    '/function/closed.openfaas-fn/x?y',
    '/async-function/closed',
    '/function/shown',
    '/api/7',
  ])('%s without one is 401, and does not run', async (path) => {
    for (const authorization of [undefined, 'Bearer', 'Bearer ', 'Bearer nonsense', 'Basic nonsense', caller]) {
      const { status, text, headers } = await call(path, authorization);
      expect([status, text, headers['www-authenticate']], authorization).toEqual([
        401,
        'invalid credentials',
        'Bearer realm="IAM function invoke"',
      ]);
      expect(headers['x-openfaas-internal']).toBe('millrace');
    }
    await drained();
    expect(ran).toEqual([]);
  });

  it.each(['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'] as const)('takes one by %s as well', async (method) => {
    const { statusCode, body } = await request(`${running.url}/function/closed`, { method });
    await body.dump();
    expect([statusCode, ran]).toEqual([401, []]);
  });

  it('is 403 with one that allows no calls at all', async () => {
    const before = await metric('forbidden');
    const { status, text } = await call('/function/closed', `Bearer ${deployer}`);
    expect([status, text, ran]).toEqual([403, 'insufficient permissions', []]);
    expect(await metric('forbidden')).toBe(before + 1);
  });

  it('is not there with one for other namespaces', async () => {
    const before = await metric('forbidden');
    for (const [path, token] of [
      ['/function/closed', stranger],
      ['/async-function/closed', stranger],
      ['/function/theirs.other', caller],
    ] as const) {
      const { status, text } = await call(path, `Bearer ${token}`);
      const missing = await call(path.replace(/(closed|theirs)/, 'missing'), `Bearer ${token}`);
      expect([status, text.replace(/closed|theirs/, 'missing')], path).toEqual([404, missing.text]);
    }
    await drained();
    expect(ran).toEqual([]);
    expect(await metric('forbidden')).toBe(before + 3);
  });

  it.each([
    ['a token', `Bearer ${caller}`],
    ['the password', admin],
  ])('runs with %s, and does not get it', async (_name, authorization) => {
    const { status, text } = await call('/function/shown', authorization, { 'x-other': 'kept' });
    const { headers } = JSON.parse(text) as { headers: Record<string, string> };
    expect([status, headers['x-other'], 'authorization' in headers]).toEqual([200, 'kept', false]);
    expect((await call('/api/7', authorization)).text).toContain('"x-param-id":"7"');
  });

  it('runs through the queue without it, too, and its result is for those who have one', async () => {
    for (const [path, more] of [
      ['/async-function/closed', {}],
      ['/function/closed', { 'x-invoke-mode': 'async' }],
      ['/function/closed', { prefer: 'respond-async' }],
    ] as const) {
      const accepted = await call(path, `Bearer ${caller}`, more);
      expect(accepted.status).toBe(202);
      await drained();
      const headers = ranHeaders.pop();
      expect(headers && 'authorization' in headers).toBe(false);
      const result = `${running.url}${String(accepted.headers['location'])}/result?wait=10s`;
      const statuses: number[] = [];
      for (const authorization of ['', `Bearer ${stranger}`, `Bearer ${caller}`, admin]) {
        const { statusCode, body } = await request(result, { headers: { authorization } });
        await body.dump();
        statuses.push(statusCode);
      }
      expect(statuses).toEqual([401, 404, 200, 200]);
    }
  });

  it('is run for a webhook, whose signature says who it is', async () => {
    expect((await call('/hook-closed', undefined, { 'x-mac': mac('it ran') })).status).toBe(200);
    expect(ran).toEqual(['it ran']);
  });
});

const mac = (body: string): string => createHmac('sha256', 'key').update(body).digest('hex');

describe('a callback to a function of the gateway itself', () => {
  it('shows no credentials, so it runs public ones only', async () => {
    await using other = await testGateway(gatewayOf() + rest); // Its callbacks are tried again for a while.
    for (const name of ['events', 'closed', 'nothing', 'told']) {
      const headers = { 'x-callback-url': `http://gateway:8080/function/${name}` };
      const { statusCode } = await request(`${other.url}/async-function/open`, { method: 'POST', headers });
      expect(statusCode, name).toBe(202);
    }
    await eventually(() => (ran.length > 0 ? true : undefined));
    await eventually(async () => {
      const { body } = await request(`${other.url}/system/queues`, { headers: { authorization: admin } });
      const rows = (await body.json()) as Record<string, unknown>[];
      const row = rows.find(({ level, name }) => level === 'function' && name === 'callback.millrace');
      const sent = ['ready', 'delayed', 'leased', 'dead'].reduce((sum, state) => sum + Number(row?.[state] ?? 0), 0);
      return sent === 2 ? true : undefined; // Over HTTP, where they would be refused like any call.
    });
    expect(ran).toHaveLength(1);
    expect(ranHeaders[0]?.['x-function-name']).toBe('open.openfaas-fn');
  });
});

describe('a function for events only', () => {
  it('is not there for callers, whoever they are', async () => {
    const unnamed = (text: string): string => text.replaceAll(/"[a-z]+\.openfaas-fn\\"/g, '');
    const missing = await call('/function/nothing');
    for (const authorization of [undefined, `Bearer ${caller}`, admin]) {
      for (const path of ['/function/events', '/async-function/events', '/function/events.openfaas-fn/x', '/plain']) {
        const { status, text, headers } = await call(path, authorization);
        expect([status, unnamed(text)], path).toEqual([404, unnamed(missing.text)]);
        expect(Object.keys(headers).toSorted()).toEqual(Object.keys(missing.headers).toSorted());
      }
    }
    await drained();
    expect(ran).toEqual([]);
  });

  it('is run for a webhook that is signed, and for no other', async () => {
    expect((await call('/hook', undefined, { 'x-mac': mac('something else') })).status).toBe(401);
    expect((await call('/hook', admin)).status).toBe(401);
    expect(ran).toEqual([]);
    expect((await call('/hook', undefined, { 'x-mac': mac('it ran') })).status).toBe(200);
    expect(ran).toEqual(['it ran']);
  });

  it('is run from the queue for a function that names it', async () => {
    expect((await call('/async-function/before')).status).toBe(202);
    await eventually(() => (ran.length > 0 ? true : undefined));
    expect(ran).toEqual(['it ran']);
  });
});

describe('a reload', () => {
  it('takes up other tokens, and what functions ask that do not say it themselves', async () => {
    await using other = await testGateway(gatewayOf() + rest);
    const statusOf = async (name: string, token?: string): Promise<number> => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const { statusCode, body } = await request(`${other.url}/function/${name}`, { method: 'POST', headers });
      await body.dump();
      return statusCode;
    };
    expect([await statusOf('open'), await statusOf('closed', caller)]).toEqual([200, 200]);
    const renewed = createToken();
    const next = (gatewayOf('\n  functions: { auth: token }') + rest)
      .replace(caller, renewed)
      .replace('closed: { behaviour: record, auth: token }', 'closed: { behaviour: record, auth: public }');
    expect(await other.reload(next)).toMatchObject({
      result: 'ok',
      changes: 'gateway.auth changed, gateway.functions changed, functions.closed.openfaas-fn policy changed',
    });
    expect([await statusOf('open'), await statusOf('open', caller), await statusOf('open', renewed)]).toEqual([
      401, 401, 200,
    ]);
    expect(await statusOf('closed')).toBe(200);
  });

  it('takes up what the files of secretMountPath say, and refuses what they do not', async () => {
    const secrets = join(running.folder, 'secrets');
    mkdirSync(secrets);
    const write = (name: string, text: string): void => writeFileSync(join(secrets, name), text);
    write('basic-auth-user', 'root\n');
    write('basic-auth-password', 'first\n');
    const yaml = `gateway: { listen: { port: 0 }, management: { port: 0 }, auth: { basic: { secretMountPath: ${secrets} } } }\n`;
    await using other = await testGateway(yaml);
    const statusOf = async (credentials: string): Promise<number> => {
      const authorization = `Basic ${Buffer.from(credentials).toString('base64')}`;
      const { statusCode, body } = await request(`${other.url}/system/functions`, { headers: { authorization } });
      await body.dump();
      return statusCode;
    };
    expect([await statusOf('root:first'), await statusOf('root:first\n'), await statusOf('root:')]).toEqual([
      200, 401, 401,
    ]);
    write('basic-auth-password', 'second\r\n');
    expect(await other.reload(yaml)).toMatchObject({ result: 'ok', changes: 'gateway.auth changed' });
    expect([await statusOf('root:first'), await statusOf('root:second')]).toEqual([401, 200]);
    write('basic-auth-password', '\n');
    const { result, reasons } = await other.reload(yaml);
    expect([result, reasons.join()]).toEqual(['invalid', expect.stringContaining('basic-auth-password is empty')]);
    expect([await statusOf('root:'), await statusOf('root:second')]).toEqual([401, 200]);
  });
});

describe('an issuer that cannot be asked', () => {
  it('is 503 with Retry-After for functions and API alike, and then the token counts', async () => {
    await using issuer = await startIssuer(Date.now);
    const rules = '[{ claim: sub, value: ada, scopes: [invoke, operate], namespaces: ["*"] }]';
    const yaml = `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  auth: { oidc: [{ issuer: "${issuer.url}", audience: millrace, rules: ${rules} }] }
functions: { closed: { behaviour: show, auth: token } }
`;
    await using other = await testGateway(yaml);
    const ask = async (path: string, method: 'GET' | 'POST'): Promise<[number, string, unknown]> => {
      const headers = { authorization: `Bearer ${await issuer.token()}` };
      const { statusCode, headers: got, body } = await request(`${other.url}${path}`, { method, headers });
      return [statusCode, await body.text(), got['retry-after']];
    };
    issuer.answerWith('nothing');
    for (const [path, method] of [
      ['/function/closed', 'POST'],
      ['/system/functions', 'GET'],
    ] as const) {
      expect(await ask(path, method)).toEqual([
        503,
        expect.stringContaining('issuer.unavailable'),
        expect.stringMatching(/^[1-5]$/),
      ]);
    }
    issuer.answerWith(undefined);
    await eventually(async () => ((await ask('/function/closed', 'POST'))[0] === 200 ? true : undefined));
    expect((await ask('/system/functions', 'GET'))[0]).toBe(200);
  });
});
