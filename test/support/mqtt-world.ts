import { statSync } from 'node:fs';
import { join } from 'node:path';
import { connectAsync, type IClientPublishOptions, type MqttClient } from 'mqtt';
import { expect } from 'vitest';
import { type OwnBroker, startBroker } from './brokers.ts';
import { testGateway, type TestGateway } from './gateway.ts';
import { ran, ranHeaders } from './plugins/inline.ts';

const cleanups: (() => PromiseLike<unknown>)[] = [];
/** Ends what a test has begun, last first. */
export async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
}

/** A broker of the test's own, and a client that sends to it. */
export async function setUp(...settings: string[]): Promise<{ broker: OwnBroker; sender: MqttClient }> {
  const broker = await startBroker('mqtt', { settings });
  cleanups.push(() => broker.dispose());
  ran.length = 0;
  ranHeaders.length = 0;
  return { broker, sender: await senderTo(broker) };
}

export async function senderTo(broker: OwnBroker): Promise<MqttClient> {
  const sender = await connectAsync(broker.url, { protocolVersion: 5, reconnectPeriod: 50 });
  cleanups.push(async () => void sender.end(true));
  return sender;
}

/** What differs from a gateway with one connector `jobs` that runs the function `record`. */
export interface Options {
  readonly version?: string;
  readonly clientId?: string;
  readonly connection?: string;
  readonly subscribe?: string;
  readonly connector?: string;
  readonly redis?: OwnBroker;
}

export async function gateway(broker: OwnBroker, options: Options = {}): Promise<TestGateway> {
  const { version = '5', clientId = 'gateway', connection = '', connector = 'function: record' } = options;
  const { subscribe = '{ topic: "jobs/#" }', redis } = options;
  const queue = redis ? '{ kind: redis, connection: redis }' : '{ kind: memory, allowVolatile: true }';
  const another = redis ? `\n  redis: { kind: redis, url: "${redis.url}" }` : '';
  const running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { asyncBody: 10KiB } }
connections:
  main: { kind: mqtt, url: "${broker.url}", version: ${version}, clientId: ${clientId} ${connection} }${another}
queues: { default: ${queue} }
functions:
  record: { behaviour: record }
  fail: { behaviour: fail, invoke: { retry: { attempts: 1 } } }
  never: { behaviour: never, invoke: { timeout: 1m } }
connectors: { jobs: { kind: mqtt, connection: main, subscribe: [${subscribe}], ${connector} } }
`);
  cleanups.push(() => running[Symbol.asyncDispose]());
  return running;
}

/** Resolves when the broker has confirmed each. */
export async function publish(
  sender: MqttClient,
  bodies: readonly string[],
  options: IClientPublishOptions = {},
): Promise<void> {
  // The library sends more at once than the broker has said that it takes.
  for (let at = 0; at < bodies.length; at += 20) {
    const some = bodies.slice(at, at + 20);
    await Promise.all(some.map((body) => sender.publishAsync('jobs/some', body, { qos: 1, ...options })));
  }
}

export const bodiesOf = (count: number, prefix = 'n'): string[] =>
  Array.from({ length: count }, (_, at) => `${prefix}${at}`);
export const connectorOf = async ({ url }: TestGateway): Promise<Record<string, unknown>> => {
  const rows = (await (await fetch(`${url}/system/connectors`)).json()) as Record<string, unknown>[];
  return rows.find((row) => row['name'] === 'jobs') ?? {};
};
export const inState = (running: TestGateway, state: string, timeout = 15_000): Promise<void> =>
  expect.poll(async () => (await connectorOf(running))['state'], { timeout }).toBe(state);
/** A gateway whose connector has subscribed. */
export const listening = async (broker: OwnBroker, options?: Options): Promise<TestGateway> => {
  const running = await gateway(broker, options);
  await inState(running, 'running');
  return running;
};
/** What a metric of the connector or its connection says. */
export const counted = async (running: TestGateway, name: string): Promise<number> => {
  const metrics = await (await fetch(`${running.gateway.managementUrl}/metrics`)).text();
  return Number(new RegExp(`^millrace_mqtt_${name}\\{[^}]*\\} (\\d+)`, 'm').exec(metrics)?.[1] ?? 0);
};
/** Waits until just these have run. */
export const all = (bodies: readonly string[], timeout = 15_000): Promise<void> =>
  expect.poll(() => ran.toSorted(), { timeout }).toEqual(bodies.toSorted());

/** Mosquitto writes its state after what it does, but only once there has been more than one change. */
export async function isSaved(broker: OwnBroker, sender: MqttClient): Promise<void> {
  const since = Date.now();
  const savedAt = async (): Promise<number> => {
    for (const mark of ['one', 'two'])
      await sender.publishAsync(`saved/${mark}`, String(Math.random()), { qos: 1, retain: true });
    return statSync(join(broker.folder, 'mosquitto.db')).mtimeMs;
  };
  await expect.poll(savedAt, { timeout: 10_000 }).toBeGreaterThan(since + 20);
}

/** A Redis of the test's own. */
export async function startRedis(): Promise<OwnBroker> {
  const redis = await startBroker('redis');
  cleanups.push(() => redis.dispose());
  return redis;
}
