import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { createToken } from '../../core/auth/token.ts';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';

/** Two tenants on one gateway, what each may do, and what each must never see or change of the other's. */

export type Tenant = 'a' | 'b';
/** `c` is none: nothing was ever made there. */
export type Space = Tenant | 'c';
export const otherOf = (tenant: Tenant): Tenant => (tenant === 'a' ? 'b' : 'a');

/** In every value that is of a tenant, so that it is known wherever it shows up. */
export const markOf = (space: Space): string => `mark-of-${space}`;

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** What a command is about: a tenant's own things, by the names and ids that it would use for them. */
export interface Target {
  readonly space: Space;
  /** One that there may be. */
  readonly name: string;
  readonly lane: string;
  /** Invocations and dead letters, of which there may be none. */
  readonly invocation: string;
  readonly letter: string;
  /** Chooses among variants. */
  readonly pick: number;
}

export interface Asked {
  readonly path: string;
  readonly json?: unknown;
}

const unknownId = '01ARZ3NDEKTSV4RRFFQ69G5FAV';
const password = 'correct horse battery staple';
const adminHeader = `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`;

/** A gateway, and what the tenants have on it, as far as they need to know it. */
export class World implements AsyncDisposable {
  readonly #gateway: TestGateway;
  readonly #tokens: Readonly<Record<Tenant, string>>;
  /** Ids that each was given. */
  readonly invocations: Readonly<Record<Tenant, string[]>> = { a: [], b: [] };
  readonly events: Readonly<Record<Tenant, { text: string }>> = { a: { text: '' }, b: { text: '' } };
  readonly figures: Readonly<Record<Tenant, { text: string }>> = { a: { text: '' }, b: { text: '' } };
  /** A route whose check of namespaces is left out for tenant a, as somebody might leave it out. */
  plant: string | undefined;

  private constructor(gateway: TestGateway, tokens: Readonly<Record<Tenant, string>>) {
    this.#gateway = gateway;
    this.#tokens = tokens;
  }

  static async start(): Promise<World> {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-tenants-'));
    const tokens = { a: createToken(), b: createToken() };
    const scopes = '[invoke, deploy, operate]';
    const gateway = await testGateway(`
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  auth:
    basic: { user: admin, password: "${password}" }
    tokens:
      - { name: a, token: "${tokens.a}", scopes: ${scopes}, namespaces: [a] }
      - { name: b, token: "${tokens.b}", scopes: ${scopes}, namespaces: [b] }
providers:
  process:
    kind: process
    allowDeploy: true
    secretsPath: ${folder}
    images: { works: { command: [sh, -c, "cat; echo mark >&2"] }, fails: { command: ["false"] } }
`);
    const world = new World(gateway, tokens);
    for (const tenant of ['a', 'b'] as const) await world.#furnish(tenant);
    return world;
  }

  /** One of everything. */
  async #furnish(tenant: Tenant): Promise<void> {
    void this.#listen(tenant, 'events');
    void this.#listen(tenant, 'figures');
    await this.send(tenant, 'POST /system/namespaces', { path: '/system/namespaces', json: spaceOf(tenant) });
    for (const [name, image] of Object.entries({ first: 'works', second: 'fails' })) {
      const json = deploymentOf(tenant, name, image);
      await this.send(tenant, 'POST /system/functions', { path: '/system/functions', json });
    }
    await this.send(tenant, 'POST /system/secrets', { path: '/system/secrets', json: secretOf(tenant, 'first', 0) });
    await this.send(tenant, runAsync, { path: `/async-function/second.${tenant}`, json: markOf(tenant) });
    await this.send(tenant, runAsync, { path: `/async-function/first.${tenant}`, json: markOf(tenant) });
    await this.send(tenant, 'POST /system/queues/{name}/pause', { path: `/system/queues/first.${tenant}/pause` });
    await this.send(tenant, runAsync, { path: `/async-function/first.${tenant}`, json: markOf(tenant) });
  }

  async #listen(tenant: Tenant, what: 'events' | 'figures'): Promise<void> {
    const headers = { authorization: `Bearer ${this.#tokens[tenant]}` };
    const { body } = await request(`${this.#gateway.url}/system/${what}`, { headers });
    body.on('error', () => undefined); // It ends with the gateway.
    body.on('data', (chunk: Buffer) => (this[what][tenant].text += chunk.toString()));
  }

  /** Does what the route is asked for, and waits until nothing follows from it any more. */
  async send(tenant: Tenant, key: string, { path, json }: Asked): Promise<Answer> {
    const [method = ''] = key.split(' ');
    const isPlanted = tenant === 'a' && key === this.plant;
    const { statusCode, headers, body } = await request(`${this.#gateway.url}${path}`, {
      method,
      headers: {
        authorization: isPlanted ? adminHeader : `Bearer ${this.#tokens[tenant]}`,
        ...(json !== undefined && { 'content-type': 'application/json' }),
      },
      body: json === undefined ? null : JSON.stringify(json),
    });
    const answer = { status: statusCode, text: await body.text() };
    const id = headers['x-invocation-id'] ?? /^\/invocations\/(\w+)$/.exec(String(headers['location']))?.[1];
    if (statusCode === 202 && typeof id === 'string') this.invocations[tenant].push(id);
    if (method !== 'GET') await this.#settled();
    return answer;
  }

  async #get(tenant: Tenant, path: string): Promise<string> {
    const headers = { authorization: `Bearer ${this.#tokens[tenant]}` };
    const { statusCode, body } = await request(`${this.#gateway.url}${path}`, { headers });
    return `${statusCode} ${await body.text()}`;
  }

  /** Until nothing runs, and what could run has run. */
  async #settled(): Promise<void> {
    const headers = { authorization: adminHeader };
    await eventually(async () => {
      const { body } = await request(`${this.#gateway.url}/system/queues`, { headers });
      const rows = (await body.json()) as { ready: number; delayed: number; leased: number; paused: boolean }[];
      return rows.every(({ ready, delayed, leased, paused }) => leased + delayed === 0 && (paused || ready === 0))
        ? true
        : undefined;
    });
  }

  /** All that a tenant can see of what is his, without what time alone changes. */
  async view(tenant: Tenant): Promise<string> {
    const paths = [
      '/system/functions',
      `/system/secrets?namespace=${tenant}`,
      '/system/namespaces',
      `/system/namespace/${tenant}`,
      '/system/queues',
      '/system/dead-letters?limit=500',
      `/system/logs?name=first.${tenant}`,
      ...this.invocations[tenant].map((id) => `/invocations/${id}`),
    ];
    const parts = await Promise.all(paths.map((path) => this.#get(tenant, path)));
    return parts.join('\n').replaceAll(/"oldestAgeSeconds":[\d.]+/g, '');
  }

  async lettersOf(tenant: Tenant): Promise<readonly string[]> {
    const text = await this.#get(tenant, '/system/dead-letters?limit=500');
    return (JSON.parse(text.slice(4)) as { items: { id: string }[] }).items.map(({ id }) => id);
  }

  async target(space: Space, pick: number): Promise<Target> {
    const name = pick % 2 === 0 ? 'first' : 'second';
    const lane = `${name}.${space}`;
    if (space === 'c') return { space, name, lane, invocation: unknownId, letter: unknownId, pick };
    const letters = await this.lettersOf(space);
    const invocations = this.invocations[space];
    const invocation = invocations[pick % Math.max(1, invocations.length)] ?? unknownId;
    return { space, name, lane, invocation, letter: letters[pick % Math.max(1, letters.length)] ?? unknownId, pick };
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#gateway[Symbol.asyncDispose]();
  }
}

const spaceOf = (space: Space): unknown => ({ name: space, labels: { openfaas: '1', of: markOf(space) } });
const deploymentOf = (namespace: Space, service: string, image: string): unknown => ({
  service,
  namespace,
  image,
  envVars: { OF: markOf(namespace) },
  annotations: { 'millrace.dev/auth': 'token', 'com.openfaas.retry.attempts': '1' },
});
const secretOf = (namespace: Space, name: string, pick: number): unknown => ({
  name,
  namespace,
  value: `${markOf(namespace)}-${pick}`,
});

const runAsync = 'POST /async-function/{name}';
const deployed = ({ space, name, pick }: Target): unknown =>
  deploymentOf(space, name, pick % 3 === 0 ? 'fails' : 'works');
const oneOf = <Item>(pick: number, items: readonly Item[]): Item => items[pick % items.length] as Item;

/** By route, what it is asked about somebody's things. Those of the data plane are beside those of the API's table. */
export const operations: Readonly<Record<string, (target: Target) => Asked>> = {
  'POST /function/{name}': ({ lane, space }) => ({ path: `/function/${lane}`, json: markOf(space) }),
  [runAsync]: ({ lane, space }) => ({ path: `/async-function/${lane}`, json: markOf(space) }),
  'GET /invocations/{id}': ({ invocation }) => ({ path: `/invocations/${invocation}` }),
  'GET /invocations/{id}/result': ({ invocation }) => ({ path: `/invocations/${invocation}/result` }),
  'DELETE /invocations/{id}': ({ invocation }) => ({ path: `/invocations/${invocation}` }),
  'DELETE /async-function/{id}': ({ invocation }) => ({ path: `/async-function/${invocation}` }),
  'GET /system/queues': () => ({ path: '/system/queues' }),
  'POST /system/queues/{name}/pause': ({ lane }) => ({ path: `/system/queues/${lane}/pause` }),
  'POST /system/queues/{name}/resume': ({ lane }) => ({ path: `/system/queues/${lane}/resume` }),
  'GET /system/invocations': ({ lane, pick }) => ({
    path: `/system/invocations${oneOf(pick, ['', `?function=${lane}`, '?limit=1', '?state=queued'])}`,
  }),
  'GET /system/dead-letters': ({ lane, pick }) => ({
    path: `/system/dead-letters${oneOf(pick, ['', `?function=${lane}`, '?limit=1', '?reason=max_attempts'])}`,
  }),
  'GET /system/dead-letters/{id}': ({ letter }) => ({ path: `/system/dead-letters/${letter}` }),
  'GET /system/dead-letters/{id}/body': ({ letter }) => ({ path: `/system/dead-letters/${letter}/body` }),
  'POST /system/dead-letters/{id}/replay': ({ letter, lane, space, pick }) => ({
    path: `/system/dead-letters/${letter}/replay`,
    json: oneOf(pick, [{}, { to: lane }, { body: markOf(space), headers: { 'x-edited': markOf(space) } }]),
  }),
  'POST /system/dead-letters/replay': ({ lane, pick }) => ({
    path: '/system/dead-letters/replay',
    json: oneOf(pick, [{ function: lane }, { function: lane, to: lane }]),
  }),
  'DELETE /system/dead-letters': ({ lane }) => ({ path: `/system/dead-letters?function=${lane}` }),
  'DELETE /system/dead-letters/{id}': ({ letter }) => ({ path: `/system/dead-letters/${letter}` }),
  'GET /system/functions': ({ space, pick }) => ({
    path: `/system/functions${oneOf(pick, ['', `?namespace=${space}`])}`,
  }),
  'GET /system/function/{name}': ({ lane, name, space, pick }) => ({
    path: `/system/function/${oneOf(pick, [lane, `${name}?namespace=${space}`])}`,
  }),
  'GET /system/scaling/{name}': ({ lane }) => ({ path: `/system/scaling/${lane}` }),
  'POST /system/functions': (target) => ({ path: '/system/functions', json: deployed(target) }),
  'PUT /system/functions': (target) => ({ path: '/system/functions', json: deployed(target) }),
  'DELETE /system/functions': ({ lane, name, space, pick }) => ({
    path: '/system/functions',
    json: oneOf(pick, [{ functionName: lane }, { functionName: name, namespace: space }]),
  }),
  'POST /system/scale-function/{name}': ({ lane, pick }) => ({
    path: `/system/scale-function/${lane}`,
    json: { replicas: 1 + (pick % 2) },
  }),
  'POST /system/alert': ({ lane, pick }) => ({
    path: '/system/alert',
    json: { alerts: [{ status: oneOf(pick, ['firing', 'resolved']), labels: { function_name: lane } }] },
  }),
  'GET /system/secrets': ({ space }) => ({ path: `/system/secrets?namespace=${space}` }),
  'POST /system/secrets': ({ space, name, pick }) => ({ path: '/system/secrets', json: secretOf(space, name, pick) }),
  'PUT /system/secrets': ({ space, name, pick }) => ({ path: '/system/secrets', json: secretOf(space, name, pick) }),
  'DELETE /system/secrets': ({ space, name }) => ({ path: '/system/secrets', json: { name, namespace: space } }),
  'GET /system/namespaces': () => ({ path: '/system/namespaces' }),
  ...Object.fromEntries(
    ['/system/namespace/', '/system/namespace', '/system/namespaces'].map((path) => [
      `POST ${path}`,
      ({ space }: Target) => ({ path, json: spaceOf(space) }),
    ]),
  ),
  ...Object.fromEntries(
    ['namespace', 'namespaces'].flatMap((word) => [
      [`GET /system/${word}/{name}`, ({ space }: Target) => ({ path: `/system/${word}/${space}` })],
      [
        `PUT /system/${word}/{name}`,
        ({ space }: Target) => ({ path: `/system/${word}/${space}`, json: spaceOf(space) }),
      ],
      [`DELETE /system/${word}/{name}`, ({ space }: Target) => ({ path: `/system/${word}/${space}` })],
    ]),
  ),
  'GET /system/logs': ({ lane }) => ({ path: `/system/logs?name=${lane}` }),
  'GET /system/connections': () => ({ path: '/system/connections' }),
  'GET /system/connectors': () => ({ path: '/system/connectors' }),
  'POST /system/connectors/{name}/trigger': () => ({ path: '/system/connectors/http/trigger' }),
  'POST /system/connectors/{name}/backfill': () => ({
    path: '/system/connectors/http/backfill',
    json: { from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z' },
  }),
};

/** Routes of the table that are about nobody's things. */
export const nobodys: ReadonlySet<string> = new Set([
  'GET /healthz',
  'GET /readyz',
  'GET /system/info',
  'GET /system/openapi.json',
  'GET /system/events', // Open all the time, for each of them: `World.events`.
  'GET /system/figures', // As above: `World.figures`.
  'GET /system/configuration', // Of all namespaces: for neither of them.
  'GET /',
  'GET /ui/',
  'GET /ui/{file}',
]);
