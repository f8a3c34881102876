import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, expect } from 'vitest';
import { type OwnBroker, startBroker } from './brokers.ts';
import { type GatewayProcess, startGateway } from './gateway-process.ts';
import { testGateway, type TestGateway } from './gateway.ts';
import { ran, ranHeaders } from './plugins/inline.ts';

/** Busy machines take their time. */
export const poll = <T>(ask: () => T | Promise<T>): ReturnType<typeof expect.poll<T>> =>
  expect.poll(ask, { timeout: 20_000 });

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

export interface World {
  readonly server: OwnBroker;
  readonly redis: Redis;
}

export async function setUp(settings: readonly string[] = []): Promise<World> {
  const server = await startBroker('redis', { settings });
  cleanups.push(() => server.dispose());
  const redis = new Redis(server.url, { retryStrategy: () => 50 });
  redis.on('error', () => {});
  cleanups.push(() => redis.disconnect());
  ran.length = 0;
  ranHeaders.length = 0;
  return { server, redis };
}

export async function gateway(server: OwnBroker, connector: string, stream = 'key: jobs'): Promise<TestGateway> {
  const running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { body: 10KiB, asyncBody: 10KiB } }
connections: { main: { kind: redis, url: "${server.url}" } }
policies: { retry: { quick: { attempts: 2, backoff: { kind: fixed, initial: 20ms, jitter: none } } } }
functions:
  record: { behaviour: record }
  slow: { behaviour: slow }
  never: { behaviour: never, invoke: { timeout: 1m } }
  busy: { behaviour: slow, invoke: { concurrency: 1, waiting: 0 } }
  fail: { behaviour: fail, invoke: { retry: quick } }
connectors: { jobs: { kind: redis, ${stream === '' ? '' : `stream: { ${stream} },`} ${connector} } }
`);
  cleanups.push(() => running[Symbol.asyncDispose]());
  return running;
}

/** Another gateway, in a process of its own, with functions of files. */
export async function gatewayProcess(
  server: OwnBroker,
  folder: string,
  connector: string,
  env = {},
): Promise<GatewayProcess> {
  const functions = join(import.meta.dirname, '../fixtures/functions');
  const file = join(folder, `gateway-${randomBytes(4).toString('hex')}.yaml`);
  writeFileSync(
    file,
    `
gateway: { listen: { port: 0 }, management: { port: 0 } }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
connections: { main: { kind: redis, url: "${server.url}" } }
functions:
  slow: { module: ${functions}/slow.ts, invoke: { timeout: 1m } }
  ledger: { module: ${functions}/ledger.ts, env: { LEDGER: ${folder}/ledger } }
connectors: { jobs: { kind: redis, stream: { key: jobs }, ${connector} } }
`,
  );
  const running = await startGateway(file, env);
  cleanups.push(async () => {
    running.child.kill('SIGCONT');
    running.child.kill('SIGKILL');
    await running.ended;
  });
  return running;
}

export async function add(redis: Redis, count: number, prefix = 'n', key = 'jobs'): Promise<string[]> {
  const bodies = Array.from({ length: count }, (_, index) => `${prefix}${index}`);
  await Promise.all(bodies.map((body) => redis.xadd(key, '*', 'body', body)));
  return bodies;
}

export interface Pending {
  readonly id: string;
  readonly consumer: string;
  readonly count: number;
}

export async function pending(redis: Redis, key = 'jobs', group = 'millrace'): Promise<Pending[]> {
  const rows = (await redis.xpending(key, group, '-', '+', 10_000)) as [string, string, number, number][];
  return rows.map(([id, consumer, , count]) => ({ id, consumer, count }));
}

export async function groupOf(redis: Redis, key = 'jobs'): Promise<Record<string, unknown>> {
  const [flat = []] = (await redis.xinfo('GROUPS', key)) as unknown[][];
  return Object.fromEntries(flat.flatMap((name, at) => (at % 2 === 0 ? [[String(name), flat[at + 1]]] : [])));
}

export const done = (redis: Redis, key = 'jobs'): Promise<void> =>
  poll(() => groupOf(redis, key).catch(() => ({}))).toMatchObject({ pending: 0, lag: 0 });
export const connectorOf = async ({ url }: TestGateway): Promise<Record<string, unknown>> => {
  const rows = (await (await fetch(`${url}/system/connectors`)).json()) as Record<string, unknown>[];
  return rows.find((row) => row['name'] === 'jobs') ?? {};
};
export const counterOf = async ({ gateway }: TestGateway, name: string): Promise<number> => {
  const metrics = await (await fetch(`${gateway.managementUrl}/metrics`)).text();
  return Number(new RegExp(`millrace_redis_${name}_total\\{[^}]*\\} (\\d+)`).exec(metrics)?.[1] ?? 0);
};
export const letters = async ({ url }: TestGateway): Promise<{ id: string; attempt: number; reason: string }[]> =>
  ((await (await fetch(`${url}/system/dead-letters`)).json()) as { items: never[] }).items;
export const bodyOf = async ({ url }: TestGateway, id = ''): Promise<Buffer> =>
  Buffer.from(await (await fetch(`${url}/system/dead-letters/${id}/body`)).arrayBuffer());
/** The ids of the connections on which gateways wait for entries. */
export const readersOf = async (redis: Redis): Promise<string[]> =>
  [...String(await redis.client('LIST')).matchAll(/^id=(\d+) .*\/reader /gm)].map(([, id = '']) => id);
