import { execFileSync } from 'node:child_process';
import { connectAsync, type IClientPublishOptions, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { ran, ranHeaders } from '../support/plugins/inline.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const cleanups: (() => PromiseLike<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function setUp(...settings: string[]): Promise<{ broker: OwnBroker; sender: MqttClient }> {
  const broker = await startBroker('mqtt', { settings });
  cleanups.push(() => broker.dispose());
  ran.length = 0;
  ranHeaders.length = 0;
  return { broker, sender: await senderTo(broker) };
}

async function senderTo(broker: OwnBroker): Promise<MqttClient> {
  const sender = await connectAsync(broker.url, { protocolVersion: 5, reconnectPeriod: 50 });
  cleanups.push(async () => void sender.end(true));
  return sender;
}

interface Options {
  readonly version?: string;
  readonly clientId?: string;
  readonly connection?: string;
  readonly subscribe?: string;
  readonly connector?: string;
  readonly queue?: string;
}

async function gateway(broker: OwnBroker, options: Options = {}): Promise<TestGateway> {
  const { version = '5', clientId = 'gateway', connection = '', connector = 'function: record' } = options;
  const { subscribe = '{ topic: "jobs/#" }', queue = '{ kind: memory, allowVolatile: true }' } = options;
  const running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { asyncBody: 10KiB } }
connections: { main: { kind: mqtt, url: "${broker.url}", version: ${version}, clientId: ${clientId} ${connection} } }
queues: { default: ${queue} }
functions:
  record: { behaviour: record }
  fail: { behaviour: fail, invoke: { retry: { attempts: 1 } } }
  never: { behaviour: never, invoke: { timeout: 1m } }
connectors: { jobs: { kind: mqtt, subscribe: [${subscribe}], ${connector} } }
`);
  cleanups.push(() => running[Symbol.asyncDispose]());
  return running;
}

async function publish(
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

const bodiesOf = (count: number, prefix = 'n'): string[] => Array.from({ length: count }, (_, at) => `${prefix}${at}`);
const connectorOf = async ({ url }: TestGateway): Promise<Record<string, unknown>> => {
  const rows = (await (await fetch(`${url}/system/connectors`)).json()) as Record<string, unknown>[];
  return rows.find((row) => row['name'] === 'jobs') ?? {};
};
const inState = (running: TestGateway, state: string, timeout = 15_000): Promise<void> =>
  expect.poll(async () => (await connectorOf(running))['state'], { timeout }).toBe(state);
const listening = async (broker: OwnBroker, options?: Options): Promise<TestGateway> => {
  const running = await gateway(broker, options);
  await inState(running, 'running');
  return running;
};
const counted = async (running: TestGateway, name: string): Promise<number> => {
  const metrics = await (await fetch(`${running.gateway.managementUrl}/metrics`)).text();
  return Number(new RegExp(`^millrace_mqtt_${name}\\{[^}]*\\} (\\d+)`, 'm').exec(metrics)?.[1] ?? 0);
};
const all = (bodies: readonly string[], timeout = 15_000): Promise<void> =>
  expect.poll(() => ran.toSorted(), { timeout }).toEqual(bodies.toSorted());

await describeWithOwnBroker('mqtt', 'connector mqtt', () => {
  describe.each(['5', '3.1.1'])('of version %s', (version) => {
    it.each([1, 2] as const)('runs each message of QoS %i once, in order, and acknowledges it', async (qos) => {
      const { broker, sender } = await setUp();
      const running = await listening(broker, { version, subscribe: `{ topic: "jobs/#", qos: ${qos} }` });
      const bodies = bodiesOf(500);
      await publish(sender, bodies, { qos });
      await expect.poll(() => ran.length, { timeout: 15_000 }).toBe(500);
      expect(ran).toEqual(bodies);
      await expect.poll(() => counted(running, 'acknowledged_total')).toBe(500);
      expect(await counted(running, 'redelivered_total')).toBe(0);
      expect(await connectorOf(running)).toMatchObject({ state: 'running', settled: 500, inFlight: 0, reconnects: 0 });
    });
  });
});
