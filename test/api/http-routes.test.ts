import { createHmac } from 'node:crypto';
import { Readable } from 'node:stream';
import { sign as signAsGitHub } from '@octokit/webhooks-methods';
import { Webhook } from 'standardwebhooks';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verify } from '../../connectors/http/verify.ts';
import { httpConfig, type VerifyConfig, verifySchema } from '../../connectors/http/config.ts';
import { testGateway, type TestGateway } from '../support/gateway.ts';

const standardSecret = `whsec_${Buffer.from('a secret of twenty-four b').toString('base64')}`;
let running: TestGateway;
const yaml = `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  limits: { body: 100KiB, asyncBody: 10KiB }
functions:
  echo: { behaviour: echo }
  show: { behaviour: show }
connectors:
  web:
    kind: http
    routes:
      - { path: /orders/:id/items/:Item, methods: [GET, POST], function: show }
      - { path: /queued, function: show, mode: async }
      - { path: /hooks/github, function: show, verify: { scheme: github, secret: new-secret, previousSecret: old-secret } }
      - { path: /hooks/standard, function: show, verify: { scheme: standard-webhooks, secret: "${standardSecret}" } }
      - { path: /hooks/sync, function: show, mode: sync, verify: { scheme: hmac, header: X-Sign, prefix: "v0=", encoding: base64, secret: shared } }
      - { path: /hooks/plain, function: show, verify: { scheme: hmac, header: X-Sign, secret: shared } }
`;
beforeAll(async () => {
  running = await testGateway(yaml);
});
afterAll(() => running[Symbol.asyncDispose]());

const call = (path: string, init: Partial<Parameters<typeof request>[1]> = {}) =>
  request(`${running.url}${path}`, { method: 'POST', ...init });
interface Shown {
  readonly path: string;
  readonly query: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}
const resultOf = async (id: unknown): Promise<Shown> =>
  (await (await request(`${running.url}/invocations/${String(id)}/result?wait=5s`)).body.json()) as Shown;
const hmac = (body: string, secret: string, encoding: 'hex' | 'base64') =>
  createHmac('sha256', secret).update(body).digest(encoding);

describe('a route of the configuration', () => {
  it('runs its function with the parameters of the path', async () => {
    const { statusCode, body } = await call('/orders/a%2Fb/items/%C3%BC?x=1', {
      body: 'hello',
      headers: { 'x-param-id': 'forged', 'x-param-other': 'forged' },
    });
    expect(statusCode).toBe(200);
    const shown = (await body.json()) as Shown;
    expect(shown).toMatchObject({ method: 'POST', path: '/orders/a%2Fb/items/%C3%BC', query: '?x=1' });
    expect(shown.headers).toMatchObject({
      'x-param-id': 'a%2Fb',
      'x-param-item': '%C3%BC',
      'x-connector': 'http',
      'x-topic': '/orders/:id/items/:Item',
    });
    expect(shown.headers).not.toHaveProperty('x-param-other');
  });
  it('answers its own methods and paths only', async () => {
    expect((await call('/orders/1/items/2', { method: 'GET' })).statusCode).toBe(200);
    expect((await call('/orders/1/items/2', { method: 'DELETE' })).statusCode).toBe(404);
    expect((await call('/orders/1/items')).statusCode).toBe(404);
    expect((await call('/function/echo', { body: 'as ever' })).statusCode).toBe(200);
  });
  it('goes through the queue when it says so, and by the word of the caller where it says nothing', async () => {
    const queued = await call('/queued', { body: 'later' });
    expect(queued.statusCode).toBe(202);
    expect(await resultOf(queued.headers['x-invocation-id'])).toMatchObject({ path: '/queued' });
    const asked = await call('/orders/1/items/2', { headers: { prefer: 'respond-async' } });
    expect(asked.statusCode).toBe(202);
    expect((await call('/queued', { headers: { 'x-invoke-mode': 'sync' } })).statusCode).toBe(202);
  });
});

describe('a webhook', () => {
  it('signed as GitHub does it is accepted once, whichever secret is in use', async () => {
    for (const secret of ['new-secret', 'old-secret']) {
      const body = JSON.stringify({ ref: `refs/heads/${secret}` });
      const headers = { 'x-hub-signature-256': await signAsGitHub(secret, body), 'x-github-event': 'push' };
      const first = await call('/hooks/github', { body, headers });
      expect(first.statusCode).toBe(202);
      const again = await call('/hooks/github', { body, headers });
      expect(again.statusCode).toBe(202);
      expect(again.headers).toMatchObject({
        'x-duplicate': 'true',
        'x-invocation-id': first.headers['x-invocation-id'],
      });
      const shown = await resultOf(first.headers['x-invocation-id']);
      expect(shown).toMatchObject({ body, headers: { 'x-github-event': 'push', 'x-topic': '/hooks/github' } });
    }
  });

  it('signed as Standard Webhooks has it is known again by its id', async () => {
    const signer = new Webhook(standardSecret);
    const signed = (id: string, body: string) => {
      const at = new Date();
      return {
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
        'webhook-signature': `v1,${Buffer.alloc(32).toString('base64')} ${signer.sign(id, at, body)}`,
      };
    };
    const first = await call('/hooks/standard', { body: '{"n":1}', headers: signed('msg_1', '{"n":1}') });
    expect(first.statusCode).toBe(202);
    const again = await call('/hooks/standard', { body: '{"n":1}', headers: signed('msg_1', '{"n":1}') });
    expect(again.headers['x-invocation-id']).toBe(first.headers['x-invocation-id']);
    const other = await call('/hooks/standard', { body: '{"n":1}', headers: signed('msg_2', '{"n":1}') });
    expect(other.headers['x-duplicate']).toBeUndefined();
  });

  it('is answered by its function where the route is synchronous', async () => {
    const headers = { 'x-sign': `v0=${hmac('ping', 'shared', 'base64')}` };
    const { statusCode, body } = await call('/hooks/sync', { body: 'ping', headers });
    expect(statusCode).toBe(200);
    expect(await body.json()).toMatchObject({ body: 'ping' });
  });

  it('of a sender that may repeat itself runs each time', async () => {
    const init = { body: 'on', headers: { 'x-sign': hmac('on', 'shared', 'hex') } };
    const ids = [await call('/hooks/plain', init), await call('/hooks/plain', init)].map(
      ({ headers }) => headers['x-invocation-id'],
    );
    expect(new Set(ids).size).toBe(2);
  });

  it('decides nothing by what is not signed', async () => {
    const headers = {
      'x-sign': hmac('x', 'shared', 'hex'),
      'x-delay': '1h',
      'x-callback-url': 'http://169.254.169.254/',
      'x-order-key': 'k',
      'x-max-age': '1ms',
      'x-call-depth': '999',
      prefer: 'respond-async, wait=5',
    };
    const { statusCode, headers: answered } = await call('/hooks/plain', { body: 'x', headers });
    expect(statusCode).toBe(202);
    const shown = await resultOf(answered['x-invocation-id']);
    for (const name of Object.keys(headers).slice(1)) expect(shown.headers).not.toHaveProperty(name);
  });

  it.each([
    ['without a signature', {}],
    ['with that of another body', { 'x-sign': hmac('other', 'shared', 'hex') }],
    ['with that of another secret', { 'x-sign': hmac('ping', 'guessed', 'hex') }],
    ['cut short', { 'x-sign': hmac('ping', 'shared', 'hex').slice(0, 62) }],
    ['in another encoding', { 'x-sign': hmac('ping', 'shared', 'base64') }],
    ['empty', { 'x-sign': '' }],
  ])('%s is 401, and nothing is run', async (_how, headers) => {
    const { statusCode, body } = await call('/hooks/plain', { body: 'ping', headers });
    expect(statusCode).toBe(401);
    const text = await body.text();
    expect(text).toContain('request.unauthorized');
    expect(text).not.toContain('shared');
  });

  it('that is too large is 413 before anything is checked', async () => {
    const chunked = Readable.from([Buffer.alloc(6000), Buffer.alloc(6000)]);
    expect((await call('/hooks/plain', { body: chunked })).statusCode).toBe(413);
    expect((await call('/hooks/plain', { body: Buffer.alloc(11_000) })).statusCode).toBe(413);
  });

  it('gives its credit back whatever becomes of it', async () => {
    const rows = (await (await request(`${running.url}/system/connectors`)).body.json()) as Record<string, unknown>[];
    expect(rows.find(({ name }) => name === 'web')).toMatchObject({ inFlight: 0 });
  });
});

describe('verify', () => {
  const config = (settings: Record<string, unknown>): VerifyConfig =>
    verifySchema.parse({ secret: 'whsec_test_secret', ...settings });
  const body = Buffer.from('{"id":"evt_1","object":"event"}');
  // Made by stripe-node 23.1.0, webhooks.generateTestHeaderString.
  const at = 1_767_225_600_000;
  const stripe = 't=1767225600,v1=238d47ccc3251152491130a4587f0a855c0e33e88993ce968255c6d168ef7601';

  it('takes what Stripe signed, within the tolerance of its time', () => {
    const headers = { 'stripe-signature': stripe };
    const stripeConfig = config({ scheme: 'stripe', tolerance: '5m' });
    expect(verify(stripeConfig, headers, body, at)).toMatchObject({ ok: true });
    expect(verify(stripeConfig, headers, body, at + 300_000)).toMatchObject({ ok: true });
    for (const now of [at + 300_001, at - 300_001]) {
      expect(verify(stripeConfig, headers, body, now)).toMatchObject({ ok: false });
    }
    expect(verify(stripeConfig, headers, Buffer.concat([body, Buffer.from(' ')]), at)).toMatchObject({ ok: false });
  });

  it('finds the right one among several signatures of Stripe', () => {
    const several = stripe.replace('v1=', `v0=00,v1=${'0'.repeat(64)},v1=`);
    const headers = { 'stripe-signature': several };
    expect(verify(config({ scheme: 'stripe' }), headers, body, at)).toMatchObject({ ok: true });
  });

  it('takes the time for signed: another one does not hold', () => {
    const forged = { 'stripe-signature': stripe.replace(/t=\d+/, `t=${at / 1000 + 1}`) };
    expect(verify(config({ scheme: 'stripe' }), forged, body, at)).toMatchObject({ ok: false });
    const signer = new Webhook(standardSecret);
    const standard = config({ scheme: 'standard-webhooks', secret: standardSecret });
    const headers = (time: number, id = 'msg_1') => ({
      'webhook-id': id,
      'webhook-timestamp': String(time / 1000),
      'webhook-signature': signer.sign('msg_1', new Date(at), body.toString()),
    });
    expect(verify(standard, headers(at), body, at)).toEqual({ ok: true, key: 'msg_1' });
    expect(verify(standard, headers(at + 1000), body, at)).toMatchObject({ ok: false });
    expect(verify(standard, headers(at, 'msg_2'), body, at)).toMatchObject({ ok: false });
    expect(verify(standard, headers(at), body, at + 300_001)).toMatchObject({ ok: false });
  });

  it.each(['t=1,v1=', 'v1=00', 't=x,v1=00', 't=', ',,,', 't=1767225600', '=', 't=1767225600,v1=zz'])(
    'refuses the nonsense %j',
    (text) => {
      expect(verify(config({ scheme: 'stripe' }), { 'stripe-signature': text }, body, at)).toMatchObject({ ok: false });
    },
  );
});

describe('the settings of a route', () => {
  const problemsOf = (route: Record<string, unknown>): string[] =>
    (httpConfig.safeParse({ routes: [{ path: '/a', function: 'f', ...route }] }).error?.issues ?? []).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );
  it.each([
    [{ path: 'a' }, 'expected a path'],
    [{ path: '/a/*' }, 'expected a path'],
    [{ path: '/a//b' }, 'expected a path'],
    [{ path: '/system/x' }, 'a path of the gateway itself'],
    [{ path: '/function' }, 'a path of the gateway itself'],
    [{ path: '/:id/:ID' }, 'the same parameter twice'],
    [{ verify: { scheme: 'hmac', secret: 'x' } }, 'routes.0.verify.header: required'],
    [{ verify: { scheme: 'standard-webhooks', secret: 'short' } }, 'at least 16 bytes'],
  ])('%j is refused', (route, text) => {
    expect(problemsOf(route).join('\n')).toContain(text);
  });
  it('is refused when its function is not there', async () => {
    const wrong =
      'functions: { show: { behaviour: show } }\nconnectors: { web: { kind: http, routes: [{ path: /a, function: shwo }] } }';
    await expect(testGateway(wrong)).rejects.toThrow(
      'connectors.web.routes.0.function: no function "shwo", did you mean "show"?',
    );
  });
  it('is refused when another route answers the same already', () => {
    const routes = [
      { path: '/a/:id', methods: ['GET', 'POST'], function: 'f' },
      { path: '/a/:other/', methods: ['POST'], function: 'g' },
    ];
    expect(httpConfig.safeParse({ routes }).error?.issues).toMatchObject([{ path: ['routes', 1, 'path'] }]);
  });
});
