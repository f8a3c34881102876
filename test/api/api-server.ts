import { connect } from 'node:net';
import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import { Subject } from 'rxjs';
import { request } from 'undici';
import { registerManagement } from '../../core/api/management.ts';
import { PublicServer, type PublicServerOptions } from '../../core/api/server.ts';
import type { ConnectionStats, ConnectorStats, ManagementServices, Readiness } from '../../core/api/services.ts';
import type { AuthConfig } from '../../core/config/auth.ts';
import { systemClock } from '../../core/contracts/clock.ts';
import { MillraceError } from '../../core/contracts/errors.ts';
import type { FunctionAuth } from '../../core/contracts/policy.ts';
import type { FunctionEntry } from '../../core/contracts/provider.ts';
import type { Lease, NewMessage, Queue } from '../../core/contracts/queue.ts';
import type { Routes } from '../../core/contracts/route.ts';
import { FunctionLogs } from '../../core/functions/logs.ts';
import { createId } from '../../core/delivery/ids.ts';
import { testAuthenticator } from '../support/authenticator.ts';
import { standardRetry } from './standard-retry.ts';
import { invocationsOf } from '../../core/host/invocations.ts';
import type { MillraceEvent } from '../../core/observe/events.ts';
import { RecentInvocations } from '../../core/observe/recent-invocations.ts';
import { memoryConfig } from '../../plugins/queues/memory/index.ts';
import { MemoryQueue } from '../../plugins/queues/memory/queue.ts';

export interface TestApi {
  readonly url: string;
  readonly port: number;
  readonly server: PublicServer;
  readonly queues: ReadonlyMap<string, Queue>;
  readonly events: Subject<MillraceEvent>;
  readonly recent: RecentInvocations;
  /** Lines that were logged. */
  readonly log: string[];
  readonly services: ManagementServices;
  state: {
    ready: Readiness;
    connections: readonly ConnectionStats[];
    connectors: readonly ConnectorStats[];
    rooms: ReturnType<ManagementServices['waitingRooms']>;
  };
  send(method: string, path: string, options?: SendOptions): Promise<TestAnswer>;
  close(): Promise<void>;
}

interface SendOptions {
  readonly json?: unknown;
  readonly body?: string | Uint8Array;
  readonly headers?: Record<string, string>;
}

export interface TestAnswer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
  readonly bytes: Buffer;
  // oxlint-disable-next-line typescript/no-explicit-any -- answers are looked at, field by field, by the tests.
  json: any;
}

interface ApiOptions {
  readonly auth?: 'none' | AuthConfig;
  readonly server?: Partial<PublicServerOptions>;
  readonly routes?: (routes: Routes) => void;
  /** By full name: who may call them. */
  readonly functions?: Readonly<Record<string, FunctionAuth | undefined>>;
  /** Instead of those that do nothing. */
  readonly services?: Partial<ManagementServices>;
}

/** The API on a real socket, over two memory queues, with the functions `echo` and `slow` unless it is told others. */
export async function startApi(options: ApiOptions = {}): Promise<TestApi> {
  const log: string[] = [];
  const lines = new PassThrough();
  lines.on('data', (line: Buffer) => log.push(line.toString()));
  const logger = pino(lines);
  const authenticator = testAuthenticator(options.auth, { logger });
  const server = new PublicServer({
    authenticator,
    logger,
    listenHost: '127.0.0.1',
    ...options.server,
  });
  const queues = new Map<string, Queue>([
    ['default', await memoryQueue()],
    ['second', await memoryQueue()],
  ]);
  const events = new Subject<MillraceEvent>();
  const recent = new RecentInvocations();
  const named = options.functions ?? { 'echo.openfaas-fn': undefined, 'slow.openfaas-fn': undefined };
  const functions = Object.entries(named).map(([name, auth]) => entryOf(name, auth));
  const state: TestApi['state'] = {
    ready: { ready: true, failed: [], draining: [] },
    connections: [],
    connectors: [],
    rooms: [],
  };
  const services: ManagementServices = {
    queues,
    invocations: invocationsOf(queues, () => []),
    catalog: { list: () => functions, get: (name) => functions.find((entry) => entry.name === name) },
    events,
    callers: {
      principal: (...asked) => authenticator.principal(...asked),
      functionAuth: (lane) => functions.find(({ name }) => name === lane)?.policy.auth ?? 'public',
    },
    namespace: 'openfaas-fn',
    deployments: {
      deploy: disabled,
      remove: disabled,
      namespaces: () => [{ name: 'openfaas-fn', labels: {}, annotations: {} }],
      putNamespace: disabled,
      removeNamespace: disabled,
    },
    logs: new FunctionLogs(),
    secrets: () => undefined,
    scale: () => Promise.reject(new MillraceError('request.conflict', 'it has no replicas')),
    alert: async () => undefined,
    load: async () => ({ inFlight: 1, queued: 2, perSecond: 3, cpu: 0 }),
    waitingRooms: () => state.rooms,
    workQueues: () => [{ name: 'pool', provider: 'worker', waiting: 2, running: 4, oldestAgeMs: 1500 }],
    connections: () => state.connections,
    connectors: () => state.connectors,
    trigger: () => Promise.reject(new MillraceError('connector.unknown', 'there are none')),
    nextId: () => createId(Date.now()),
    isReady: () => state.ready,
    attempts: () => undefined,
    recent: (filter) => recent.list(filter),
    configuration: () => ({ configuration: { functions: named }, findings: [] }),
    ...options.services,
  };
  registerManagement(server, services);
  options.routes?.(server.api);
  server.serve([]);
  await server.listen('127.0.0.1', 0);
  const port = server.address?.port ?? 0;
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    server,
    queues,
    events,
    recent,
    log,
    services,
    state,
    send: (method, path, asked) => send(url, method, path, asked),
    close: async () => {
      await server.close();
      for (const queue of queues.values()) await queue.stop(100);
    },
  };
}

function disabled(): Promise<never> {
  return Promise.reject(new MillraceError('deploy.disabled', 'nothing may be deployed here'));
}

async function send(url: string, method: string, path: string, asked: SendOptions = {}): Promise<TestAnswer> {
  const answer = await request(`${url}${path}`, {
    method,
    headers: { ...(asked.json !== undefined && { 'content-type': 'application/json' }), ...asked.headers },
    body: asked.json === undefined ? (asked.body ?? null) : JSON.stringify(asked.json),
  });
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  const text = bytes.toString('utf8');
  const isJson = String(answer.headers['content-type']).startsWith('application/json');
  return {
    status: answer.statusCode,
    headers: answer.headers,
    text,
    bytes,
    json: isJson ? JSON.parse(text) : undefined,
  };
}

/** What comes back for these bytes, until the other side closes. */
export function rawExchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
  });
}

async function memoryQueue(): Promise<Queue> {
  const queue = new MemoryQueue(memoryConfig.parse({ allowVolatile: true }), systemClock);
  await queue.start();
  return queue;
}

function entryOf(full: string, auth: FunctionAuth | undefined): FunctionEntry {
  const [name] = full.split('.');
  return {
    name: full,
    providerName: 'worker',
    provider: {
      start: async () => {},
      deploy: async () => {},
      remove: async () => {},
      invoke: () => Promise.reject(new Error('nothing runs here')),
      stop: async () => {},
    },
    spec: {
      name: full,
      provider: 'worker',
      config: { module: `./${name}.ts` },
      env: { SECRET: 'x' },
      labels: {},
      annotations: {},
    },
    policy: {
      auth,
      timeoutMs: 30_000,
      concurrency: 4,
      waiting: 100,
      queue: 'default',
      retry: standardRetry,
      priority: 5,
      maxAgeMs: undefined,
      result: { store: true, ttlMs: 60_000 },
      onSuccess: [],
      onFailure: [],
      scale: undefined,
    },
    status: { name: full, state: 'ready', replicas: 1, availableReplicas: 1, capacity: 4 },
  };
}

/** A message for a queue, with what does not matter filled in. */
export function message(overrides: Partial<NewMessage> = {}): NewMessage {
  const id = createId(Date.now());
  return {
    id,
    lane: 'echo.openfaas-fn',
    envelope: {
      callId: `call-${id}`,
      method: 'POST',
      path: '/orders',
      query: '?a=1',
      headers: { 'content-type': 'text/plain' },
      source: 'http',
      depth: 0,
      acceptedAt: Date.now(),
    },
    body: Buffer.from('hello'),
    priority: 5,
    maxAttempts: 3,
    resultTtlMs: 60_000,
    ...overrides,
  };
}

export async function leaseOne(queue: Queue, lane = 'echo.openfaas-fn'): Promise<Lease> {
  const [lease] = await queue.lease(lane, 1, { ttlMs: 30_000, waitMs: 0, signal: new AbortController().signal });
  if (!lease) throw new Error('nothing to lease');
  return lease;
}

/** Enqueues and lets it die: the letter's id. */
export async function kill(queue: Queue, overrides: Partial<NewMessage> = {}): Promise<string> {
  const dead = message(overrides);
  await queue.enqueue([dead]);
  const { receipt } = await leaseOne(queue, dead.lane);
  const error = { code: 'function.failed', message: 'it threw', status: 500 };
  await queue.settle(receipt, { kind: 'dead', reason: 'max_attempts', error });
  return dead.id;
}
