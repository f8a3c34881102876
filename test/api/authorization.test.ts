import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { request } from 'undici';
import { apiRoutes } from '../../core/api/management.ts';
import { servicesWithin } from '../../core/api/within.ts';
import { isScoped } from '../../core/api/route-auth.ts';
import type { ApiRoute } from '../../core/api/route.ts';
import { everyNamespace } from '../../core/auth/principal.ts';
import { type Scope, scopes } from '../../core/contracts/route.ts';
import { namespaceOf } from '../../core/kit/names.ts';
import { createToken, digestOf } from '../../core/auth/token.ts';
import type { TokenConfig } from '../../core/config/auth.ts';
import { FunctionLogs } from '../../core/functions/logs.ts';
import type { ManagementServices } from '../../core/api/services.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import { eventually } from '../support/gateway.ts';
import { kill, leaseOne, message, startApi, type TestAnswer, type TestApi } from './api-server.ts';

const basic = { user: 'admin', password: 'correct horse' };
const adminHeader = `Basic ${Buffer.from('admin:correct horse').toString('base64')}`;
const tokens: TokenConfig[] = [];

function tokenFor(name: string, may: readonly Scope[], namespaces: readonly string[]): string {
  const token = createToken();
  tokens.push({ name, digest: digestOf(token), scopes: may, namespaces });
  return `Bearer ${token}`;
}

const byScope = new Map(scopes.map((scope) => [scope, tokenFor(scope, [scope], [everyNamespace])]));
const ofA = tokenFor('a', scopes, ['a']);
const ofB = tokenFor('b', scopes, ['b']);
const callerOfA = tokenFor('caller', ['invoke'], ['a']);

let api: TestApi;
let queue: Queue;
/** What there is of namespace b: none of it is for others. */
let b: { letter: string; waiting: string };
let a: { letter: string; waiting: string };

/** Namespaces in which something was made, changed or removed. */
let touched: string[];

/** Keeps nothing, and tells where it would have. */
function deployingServices(): Partial<ManagementServices> {
  touched = [];
  const touch = async (namespace: string): Promise<void> => void touched.push(namespace);
  const logs = new FunctionLogs();
  logs.append({ function: 'victim.b', instance: 'one', at: 1, text: 'victim' });
  return {
    deployments: {
      deploy: ({ namespace }) => touch(namespace),
      remove: (name) => touch(namespaceOf(name)),
      namespaces: () =>
        ['a', 'b'].map((name) => ({ name, labels: { of: name === 'b' ? 'victim' : '' }, annotations: {} })),
      putNamespace: ({ name }) => touch(name),
      removeNamespace: (name) => touch(name),
    },
    logs,
    secrets: () => ({
      list: async (namespace) => [
        { name: 'key', namespace },
        ...(namespace === 'b' ? [{ name: 'victim', namespace }] : []),
      ],
      create: async ({ namespace }) => touch(namespace).then(() => true),
      update: async ({ namespace }) => touch(namespace).then(() => true),
      remove: async ({ namespace }) => touch(namespace).then(() => true),
    }),
    scale: (name) => touch(namespaceOf(name)),
    alert: (name) => touch(namespaceOf(name)),
  };
}

beforeEach(async () => {
  api = await startApi({
    auth: { basic, tokens },
    services: deployingServices(),
    functions: { 'mine.a': 'token', 'victim.b': 'token', 'shown.b': 'public', 'hidden.a': 'event-only' },
  });
  queue = api.queues.get('default') as Queue;
  a = await objectsOf('mine.a');
  b = await objectsOf('victim.b');
  const room = { waiting: 1, running: 1, oldestAgeMs: 1 };
  api.state.rooms = ['mine.a', 'victim.b'].map((name) => ({ ...room, function: name }));
  const instance = { name: 'victim-broker', kind: 'nats', state: 'running', reconnects: 0 };
  api.state.connections = [instance];
  api.state.connectors = [{ ...instance, inFlight: 0, credit: 1, settled: 0 }];
});
afterEach(() => api.close());

async function objectsOf(lane: string): Promise<{ letter: string; waiting: string }> {
  const letter = await kill(queue, { lane });
  const waiting = message({ lane });
  await queue.enqueue([waiting]);
  for (const id of [waiting.id, letter]) api.recent.seen(id, lane);
  return { letter, waiting: waiting.id };
}

/** So that what dies next is what was sent last. */
async function takeAway(lane: string): Promise<void> {
  await queue.lease(lane, 1000, { ttlMs: 30_000, waitMs: 0, signal: new AbortController().signal });
}

const as = (authorization: string, method: string, path: string, json?: unknown): Promise<TestAnswer> =>
  api.send(method, path, { json, headers: { authorization } });

/** A path that the route has, whatever it leads to. */
const anyPath = ({ path }: ApiRoute): string => path.replaceAll(/\{\w+\}/g, 'x');
const routeKey = ({ method, path }: ApiRoute): string => `${method} ${path}`;

/** The status alone: a stream of events has no end. */
async function statusOf(route: ApiRoute, authorization: string | undefined): Promise<number> {
  const { statusCode, body } = await request(`${api.url}${anyPath(route)}`, {
    method: route.method,
    headers: authorization === undefined ? {} : { authorization },
  });
  body.on('error', () => undefined);
  body.destroy();
  return statusCode;
}

describe('every route of the table', () => {
  it('is for those who have one of its scopes, and for no others', async () => {
    const guarded = apiRoutes.filter(({ auth }) => isScoped(auth));
    expect(guarded.length).toBeGreaterThan(15);
    for (const route of guarded) {
      expect(await statusOf(route, undefined), routeKey(route)).toBe(401);
      expect(await statusOf(route, adminHeader), routeKey(route)).not.toBe(403);
      for (const [scope, authorization] of byScope) {
        const isAllowed = [route.auth].flat().includes(scope);
        const status = await statusOf(route, authorization);
        expect(status === 403, `${routeKey(route)} with ${scope}: ${status}`).toBe(!isAllowed);
        expect(status, routeKey(route)).not.toBe(401);
      }
    }
  });

  it('lets nobody change or look at queues who may only call', async () => {
    const operated = /queues|dead-letters|connect|events|logs|figures|configuration|system\/invocations/;
    for (const route of apiRoutes.filter(({ path }) => operated.test(path))) {
      expect(route.auth, routeKey(route)).toBe('operate');
    }
  });

  it('says what is missing where credentials are good, and asks for them where they are not', async () => {
    const forbidden = await as(callerOfA, 'GET', '/system/queues');
    expect([forbidden.status, forbidden.json.error]).toEqual([
      403,
      { code: 'request.forbidden', message: 'insufficient permissions: this takes operate' },
    ]);
    const unknown = await as('Bearer mr_x', 'GET', '/system/queues');
    expect([unknown.status, unknown.text]).toEqual([401, 'invalid credentials']);
    expect(unknown.headers['www-authenticate']).toEqual(['Basic realm="Restricted"', 'Bearer realm="Restricted"']);
  });

  it('is documented with the scopes that it asks for', async () => {
    const { json } = await as(ofA, 'GET', '/system/openapi.json');
    for (const { method, path, auth } of apiRoutes) {
      const { security } = json.paths[path][method.toLowerCase()];
      const documented = security.flatMap((one: { token?: string[] }) => one.token ?? []);
      const expected = auth === 'public' ? [] : auth === 'function' ? ['invoke', 'operate'] : [auth].flat();
      expect(documented, `${method} ${path}`).toEqual(expected);
    }
  });
});

interface Case {
  readonly path: string;
  readonly json?: unknown;
}
type Objects = typeof b;

const silent = '/ /ui/ /ui/{file} /healthz /system/openapi.json /system/figures /system/configuration'.split(' ');
/** What each route is asked about one namespace's objects. A route that is not here fails the test below. */
const cases: Readonly<Record<string, (of: Objects, lane: string) => readonly Case[]>> = {
  'GET /invocations/{id}': ({ waiting, letter }) => [
    { path: `/invocations/${waiting}` },
    { path: `/invocations/${letter}` },
  ],
  'GET /invocations/{id}/result': ({ letter }) => [{ path: `/invocations/${letter}/result` }],
  'DELETE /invocations/{id}': ({ waiting }) => [{ path: `/invocations/${waiting}` }],
  'DELETE /async-function/{id}': ({ waiting }) => [{ path: `/async-function/${waiting}` }],
  'GET /system/queues': () => [{ path: '/system/queues' }],
  'POST /system/queues/{name}/pause': (_, lane) => [{ path: `/system/queues/${lane}/pause` }],
  'POST /system/queues/{name}/resume': (_, lane) => [{ path: `/system/queues/${lane}/resume` }],
  'GET /system/dead-letters': (_, lane) => [
    { path: '/system/dead-letters' },
    { path: '/system/dead-letters?limit=1' },
    { path: `/system/dead-letters?function=${lane}` },
    { path: '/system/dead-letters?reason=max_attempts' },
  ],
  'GET /system/dead-letters/{id}': ({ letter }) => [{ path: `/system/dead-letters/${letter}` }],
  'GET /system/dead-letters/{id}/body': ({ letter }) => [{ path: `/system/dead-letters/${letter}/body` }],
  'POST /system/dead-letters/{id}/replay': ({ letter }, lane) => [
    { path: `/system/dead-letters/${letter}/replay` },
    { path: `/system/dead-letters/${letter}/replay`, json: { to: lane } },
  ],
  'POST /system/dead-letters/replay': (_, lane) => [
    { path: '/system/dead-letters/replay', json: { all: true } },
    { path: '/system/dead-letters/replay', json: { function: lane } },
    { path: '/system/dead-letters/replay', json: { all: true, to: lane } },
  ],
  'DELETE /system/dead-letters': (_, lane) => [
    { path: '/system/dead-letters?all=true' },
    { path: '/system/dead-letters?reason=max_attempts' },
    { path: `/system/dead-letters?function=${lane}` },
  ],
  'DELETE /system/dead-letters/{id}': ({ letter }) => [{ path: `/system/dead-letters/${letter}` }],
  'GET /system/functions': (_, lane) => [
    { path: '/system/functions' },
    { path: `/system/functions?namespace=${lane.split('.')[1]}` },
  ],
  'GET /system/function/{name}': (_, lane) => [
    { path: `/system/function/${lane}` },
    { path: `/system/function/${lane.split('.').join('?namespace=')}` },
  ],
  'GET /system/scaling/{name}': (_, lane) => [{ path: `/system/scaling/${lane}` }],
  'POST /system/functions': (_, lane) => [{ path: '/system/functions', json: deploymentOf(lane) }],
  'PUT /system/functions': (_, lane) => [{ path: '/system/functions', json: deploymentOf(lane) }],
  'DELETE /system/functions': (_, lane) => [
    { path: '/system/functions', json: { functionName: lane } },
    { path: '/system/functions', json: { functionName: lane.split('.')[0], namespace: lane.split('.')[1] } },
    { path: `/system/functions?namespace=${lane.split('.')[1]}`, json: { functionName: lane.split('.')[0] } },
  ],
  'POST /system/scale-function/{name}': (_, lane) => [
    { path: `/system/scale-function/${lane}`, json: { replicas: 0 } },
    {
      path: `/system/scale-function/${lane.split('.')[0]}`,
      json: { replicas: 0, namespace: lane.split('.')[1] },
    },
  ],
  'POST /system/alert': (_, lane) => [
    { path: '/system/alert', json: { alerts: [{ status: 'firing', labels: { function_name: lane } }] } },
  ],
  'GET /system/secrets': (_, lane) => [{ path: `/system/secrets?namespace=${lane.split('.')[1]}` }],
  'POST /system/secrets': (_, lane) => [{ path: '/system/secrets', json: secretOf(lane) }],
  'PUT /system/secrets': (_, lane) => [{ path: '/system/secrets', json: secretOf(lane) }],
  'DELETE /system/secrets': (_, lane) => [{ path: '/system/secrets', json: secretOf(lane) }],
  'GET /system/namespaces': () => [{ path: '/system/namespaces' }],
  ...Object.fromEntries(
    ['/system/namespace/', '/system/namespace', '/system/namespaces'].map((path) => [
      `POST ${path}`,
      (_: Objects, lane: string) => [{ path, json: spaceOf(lane) }],
    ]),
  ),
  ...Object.fromEntries(
    ['namespace', 'namespaces'].flatMap((word) =>
      ['GET', 'PUT', 'DELETE'].map((method) => [
        `${method} /system/${word}/{name}`,
        (_: Objects, lane: string) => [
          { path: `/system/${word}/${lane.split('.')[1]}`, json: method === 'PUT' ? spaceOf(lane) : undefined },
        ],
      ]),
    ),
  ),
  'GET /system/logs': (_, lane) => [{ path: `/system/logs?name=${lane}` }],
  'GET /system/connections': () => [{ path: '/system/connections' }],
  'GET /system/connectors': () => [{ path: '/system/connectors' }],
  'POST /system/connectors/{name}/trigger': () => [{ path: '/system/connectors/victim-broker/trigger' }],
  'POST /system/connectors/{name}/backfill': () => [
    {
      path: '/system/connectors/victim-broker/backfill',
      json: { from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z' },
    },
  ],
  'GET /system/info': () => [{ path: '/system/info' }],
  'GET /system/invocations': (_, lane) => [{ path: `/system/invocations?function=${lane}&state=queued&limit=1` }],
  'GET /system/events': () => [], // Looked at below: it has no end.
  'GET /readyz': () => [], // Anybody may see the names of the brokers there.
  // Of nobody; figures and configuration are in figures.test.ts.
  ...Object.fromEntries(silent.map((path) => [`GET ${path}`, () => []])),
};

function deploymentOf(lane: string): unknown {
  const [service, namespace] = lane.split('.');
  return { service, namespace, image: 'image' };
}
function secretOf(lane: string): unknown {
  return { name: 'key', namespace: lane.split('.')[1], value: 'value' };
}
function spaceOf(lane: string): unknown {
  return { name: lane.split('.')[1], labels: { openfaas: '1' } };
}

const keys = Object.keys(cases);
const askedOf = (key: string, objects: Objects, lane: string): readonly Case[] => cases[key]?.(objects, lane) ?? [];
const methodOf = (key: string): string => key.split(' ')[0] ?? '';

/** Everything of b as it was. */
async function expectUntouched(): Promise<void> {
  const lane = (await queue.lanes()).find((one) => one.lane === 'victim.b');
  expect(lane).toMatchObject({ ready: 1, dead: 1, paused: false });
  expect(await queue.deadLetters.get(b.letter)).toMatchObject({ lane: 'victim.b' });
  expect(await queue.find(b.waiting)).toMatchObject({ state: 'queued' });
  expect(touched).not.toContain('b');
}

/** What is to be made elsewhere is refused; an alert answers all that is wrong with one status. */
function statusOfOthers(key: string): number {
  if (/^POST \/system\/(functions|secrets|namespace)/.test(key)) return 403;
  return key === 'POST /system/alert' ? 400 : 404;
}

/** Without what the question itself named. */
const withoutNames = (text: string): string =>
  text
    .replaceAll(/\\"(?:victim\.b|nothing\.c|victim-broker)\\"|victim\.b|nothing\.c|key\.[bc]/g, 'NAME')
    .replaceAll(/namespace [bc]\b/g, 'namespace NAME');

describe('what is in another namespace', () => {
  it('has a case for each route', () => {
    expect(keys.toSorted()).toEqual(apiRoutes.map(routeKey).toSorted());
  });

  it.each(keys)('%s does not show, and does not touch', async (key) => {
    const nothing = { letter: message().id, waiting: message().id };
    for (const [index, { path, json }] of askedOf(key, b, 'victim.b').entries()) {
      const answer = await as(ofA, methodOf(key), path, json);
      for (const shown of ['victim', b.letter, b.waiting]) expect(withoutNames(answer.text), path).not.toContain(shown);
      await expectUntouched();
      if (answer.status < 300) continue;
      // By the same words as what is not there at all.
      const { path: other, json: otherJson } = askedOf(key, nothing, 'nothing.c')[index] as Case;
      const missing = await as(ofA, methodOf(key), other, otherJson);
      expect([answer.status, withoutNames(answer.text)], path).toEqual([
        statusOfOthers(key),
        withoutNames(missing.text),
      ]);
    }
  });

  it.each(keys.filter((key) => !/trigger|backfill/.test(key)))('%s shows to those whose it is', async (key) => {
    for (let index = 0; index < askedOf(key, b, 'victim.b').length; index++) {
      await queue.resume('victim.b');
      await takeAway('victim.b');
      const own = await objectsOf('victim.b');
      const { path, json } = askedOf(key, own, 'victim.b')[index] as Case;
      const { status, text } = await as(ofB, methodOf(key), path, json);
      // The result of what is dead is an error of its function's.
      expect(status, `${path}: ${text}`).toSatisfy(
        (code: number) => code < 300 || (path.endsWith('result') && code === 500),
      );
    }
  });

  it('is not an event to those who may not see it, and neither is what the gateway tells of itself', async () => {
    const { body } = await request(`${api.url}/system/events`, { headers: { authorization: ofA } });
    let text = '';
    body.on('data', (chunk: Buffer) => (text += chunk.toString()));
    body.on('error', () => undefined);
    await eventually(() => (text.includes('millrace events') ? true : undefined));
    api.events.next({ type: 'invocation.dead', at: 1, function: 'victim.b', id: b.letter });
    api.events.next({ type: 'plugin.failed', at: 2, plugin: 'victim-broker', error: 'victim' });
    api.events.next({ type: 'invocation.dead', at: 3, function: 'mine.a', id: a.letter });
    await eventually(() => (text.includes(a.letter) ? true : undefined));
    body.destroy();
    expect(text).not.toContain('victim');
    expect(text).not.toContain(b.letter);
  });

  it('leaves no gaps in pages of dead letters', async () => {
    await takeAway('mine.a');
    await takeAway('victim.b');
    const mine = [a.letter];
    for (let index = 0; index < 130; index++) {
      await kill(queue, { lane: 'victim.b' });
      if (index % 13 === 0) mine.unshift(await kill(queue, { lane: 'mine.a' }));
      // Letters of one millisecond have no order that could be expected.
      if (index % 13 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    for (const limit of [1, 3, 11, 50]) {
      const seen: string[] = [];
      const sizes: number[] = [];
      let cursor: string | undefined;
      do {
        const more: string = cursor === undefined ? '' : `&cursor=${cursor}`;
        const { json } = await as(ofA, 'GET', `/system/dead-letters?limit=${limit}${more}`);
        seen.push(...json.items.map(({ id }: { id: string }) => id));
        sizes.push(json.items.length);
        cursor = json.cursor;
      } while (cursor !== undefined);
      expect(seen, `limit ${limit}`).toEqual(mine);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(limit);
      expect(sizes.slice(0, -1).every((size) => size === limit)).toBe(true);
    }
  });
});

describe('the services of a namespace', () => {
  it('know nothing of others, whoever asks them what', async () => {
    const { queues, invocations, catalog } = servicesWithin(new Set(['a']), api.services);
    const { deadLetters, lanes, pause } = queues.get('default') ?? expect.unreachable();
    expect(await invocations.find(b.waiting)).toBeUndefined();
    expect(await invocations.finished(b.letter, 1000)).toBeUndefined();
    expect(await invocations.cancel(b.waiting)).toBe('unknown');
    expect(catalog.get('victim.b')).toBeUndefined();
    expect((await lanes()).map(({ lane }) => lane)).toEqual(['mine.a']);
    await expect(pause('victim.b')).rejects.toMatchObject({ code: 'queue.unknown' });
    expect(await deadLetters.replay(b.letter, { id: message().id })).toBe(false);
    expect(await deadLetters.replay(a.letter, { id: message().id, to: 'victim.b' })).toBe(false);
    expect(await deadLetters.purge({ id: b.letter })).toBe(0);
    await expectUntouched();
    expect(await invocations.cancel(a.waiting)).toBe('cancelled');
    expect(await deadLetters.replay(a.letter, { id: message().id, to: 'mine.a' })).toBe(true);
  });

  it('of all namespaces are the services themselves', () => {
    expect(servicesWithin('all', api.services)).toBe(api.services);
  });
});

describe('what became of a call', () => {
  const read = (id: string, authorization?: string): Promise<TestAnswer> =>
    api.send('GET', `/invocations/${id}`, authorization === undefined ? {} : { headers: { authorization } });

  it('of a public function is for whoever knows its id', async () => {
    const { waiting } = await objectsOf('shown.b');
    expect((await read(waiting)).status).toBe(200);
    expect((await read(waiting, 'Bearer nonsense')).status).toBe(200);
  });

  it('of a function that takes a token is for those who may call or operate it', async () => {
    for (const authorization of [callerOfA, ofA, adminHeader, byScope.get('invoke'), byScope.get('operate')]) {
      expect((await read(a.waiting, authorization)).status).toBe(200);
    }
    for (const authorization of [undefined, 'Bearer ', 'Bearer nonsense', 'Basic nonsense']) {
      const { status, headers, json } = await read(a.waiting, authorization);
      expect([status, json.error]).toEqual([401, { code: 'request.unauthorized', message: 'invalid credentials' }]);
      expect(headers['www-authenticate']).toBe('Bearer realm="IAM function invoke"');
    }
    for (const authorization of [ofB, byScope.get('deploy')])
      expect((await read(a.waiting, authorization)).status).toBe(404);
  });

  it('of one that only events run is not there for others, and nobody cancels it', async () => {
    const { waiting } = await objectsOf('hidden.a');
    expect((await read(waiting)).status).toBe(404);
    expect((await api.send('DELETE', `/invocations/${waiting}`)).status).toBe(404);
    expect(await queue.find(waiting)).toMatchObject({ state: 'queued' });
    expect((await read(waiting, callerOfA)).status).toBe(200);
  });

  it('that runs is not cancelled without a token', async () => {
    const { id } = (await leaseOne(queue, 'mine.a')).message;
    expect((await api.send('DELETE', `/invocations/${id}`)).status).toBe(401);
    expect((await as(callerOfA, 'DELETE', `/invocations/${id}`)).status).toBe(202);
  });
});
