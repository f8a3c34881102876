import { connect, type NatsConnection } from 'nats';
import { afterEach, expect, it } from 'vitest';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { ran } from '../support/plugins/inline.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const cleanups: (() => PromiseLike<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function setUp(): Promise<{ server: OwnBroker; nats: NatsConnection }> {
  const server = await startBroker('nats');
  cleanups.push(() => server.dispose());
  const nats = await connect({ servers: server.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  cleanups.push(() => nats.close());
  const manager = await nats.jetstreamManager();
  await manager.streams.add({ name: 'JOBS', subjects: ['jobs.>'] });
  ran.length = 0;
  return { server, nats };
}

interface Asked {
  readonly function?: string;
  readonly more?: string;
  readonly functions?: string;
  readonly connection?: string;
  readonly drain?: string;
}
const yamlOf = (server: OwnBroker, asked: Asked): string => {
  const {
    function: name = 'slow',
    more = '',
    functions = '',
    connection = `servers: "${server.url}"`,
    drain = '20s',
  } = asked;
  return `
gateway: { listen: { port: 0 }, management: { port: 0 }, shutdown: { drain: ${drain} } }
connections: { main: { kind: nats, ${connection} } }
functions:
  record: { behaviour: record }
  slow: { behaviour: slow }
  never: { behaviour: never, invoke: { timeout: 1m } }
  ${functions}
connectors:
  jobs: { kind: jetstream, stream: JOBS, durable: workers, ackWait: 5s, function: ${name} ${more} }
`;
};
async function start(server: OwnBroker, asked: Asked = {}): Promise<TestGateway> {
  const running = await testGateway(yamlOf(server, asked));
  cleanups.push(() => running[Symbol.asyncDispose]());
  return running;
}
const publish = async (nats: NatsConnection, count: number, prefix = 'n'): Promise<string[]> => {
  const bodies = Array.from({ length: count }, (_, index) => `${prefix}${index}`);
  for (const body of bodies) await nats.jetstream().publish('jobs.some', body);
  return bodies;
};
const infoOf = async (nats: NatsConnection) => (await nats.jetstreamManager()).consumers.info('JOBS', 'workers');
const done = (nats: NatsConnection): Promise<void> =>
  expect
    .poll(
      async () => {
        const { num_ack_pending: unacknowledged, num_pending: waiting } = await infoOf(nats);
        return unacknowledged + waiting;
      },
      { timeout: 20_000 },
    )
    .toBe(0);
const connectorOf = async ({ url }: TestGateway): Promise<Record<string, unknown>> => {
  const rows = (await (await fetch(`${url}/system/connectors`)).json()) as Record<string, unknown>[];
  return rows.find((row) => row['name'] === 'jobs') ?? {};
};
const inFlight = (gateway: TestGateway, count: number): Promise<void> =>
  expect.poll(async () => (await connectorOf(gateway))['inFlight'], { timeout: 20_000 }).toBe(count);
await describeWithOwnBroker('nats', 'a reload with jetstream', () => {
  it('leaves messages of an unchanged connector in flight: each runs once', async () => {
    const { server, nats } = await setUp();
    const gateway = await start(server);
    await publish(nats, 20);
    await inFlight(gateway, 20);
    const { result } = await gateway.reload(yamlOf(server, { functions: 'more: { behaviour: echo }' }));
    expect(result).toBe('ok');
    await done(nats);
    expect((await infoOf(nats)).num_redelivered).toBe(0);
    expect((await infoOf(nats)).delivered.consumer_seq).toBe(20);
    expect(await connectorOf(gateway)).toMatchObject({ settled: 20, inFlight: 0 });
  });

  it('drains a connector that changes, and the new one goes on where it ended', async () => {
    const { server, nats } = await setUp();
    const gateway = await start(server, { more: ', credit: 10' });
    await publish(nats, 300); // More than the old one is done with before the reload, however long that takes to begin.
    await inFlight(gateway, 10);
    const { result } = await gateway.reload(yamlOf(server, { function: 'record', more: ', credit: 5' }));
    expect(result).toBe('ok');
    await done(nats);
    const { num_redelivered: again, delivered } = await infoOf(nats);
    expect([again, delivered.consumer_seq]).toEqual([0, 300]);
    // What the old one had ran there; the others run by the new one.
    expect(ran.length).toBeGreaterThan(0);
    expect(new Set(ran).size).toBe(ran.length);
    expect(await connectorOf(gateway)).toMatchObject({ credit: 5, settled: ran.length });
  });

  it('hands back what does not end by the drain deadline, and the new connector gets it', async () => {
    const { server, nats } = await setUp();
    const gateway = await start(server, { function: 'never', drain: '200ms' });
    const bodies = await publish(nats, 3);
    await inFlight(gateway, 3);
    expect((await gateway.reload(yamlOf(server, { function: 'record', drain: '200ms' }))).result).toBe('ok');
    await expect.poll(() => ran.toSorted(), { timeout: 20_000 }).toEqual(bodies);
    await done(nats);
    expect(ran.toSorted()).toEqual(bodies);
  });

  it('ends a connector that is gone, and begins one that comes back', async () => {
    const { server, nats } = await setUp();
    const gateway = await start(server, { function: 'record' });
    expect((await gateway.reload(yamlOf(server, { function: 'record', more: ', enabled: false' }))).result).toBe('ok');
    expect(await connectorOf(gateway)).toEqual({});
    const bodies = await publish(nats, 5);
    expect((await infoOf(nats)).num_pending).toBe(5);
    expect((await gateway.reload(yamlOf(server, { function: 'record' }))).result).toBe('ok');
    await done(nats);
    expect(ran.toSorted()).toEqual(bodies);
  });

  it('dials a connection that changed, and moves its connectors over', async () => {
    const { server, nats } = await setUp();
    const gateway = await start(server);
    await publish(nats, 10);
    await inFlight(gateway, 10);
    const connection = `servers: ["${server.url}"], connectTimeout: 7s`;
    const { result, changes } = await gateway.reload(yamlOf(server, { function: 'slow', connection }));
    expect([result, changes]).toEqual(['ok', 'connections.main changed, connectors.jobs changed']);
    await publish(nats, 10, 'later');
    await done(nats);
    expect((await infoOf(nats)).num_redelivered).toBe(0);
    const rows = (await (await fetch(`${gateway.url}/system/connections`)).json()) as unknown[];
    expect(rows).toMatchObject([{ name: 'main', state: 'connected', reconnects: 0 }]);
  });

  it('keeps the connection and its messages when the new one cannot be dialled', async () => {
    const { server, nats } = await setUp();
    const gateway = await start(server);
    await publish(nats, 10);
    await inFlight(gateway, 10);
    const connection = 'servers: "nats://127.0.0.1:1", connectTimeout: 300ms';
    const { result, reasons } = await gateway.reload(yamlOf(server, { connection }));
    expect([result, reasons]).toEqual(['failed', [expect.stringContaining('connection "main"')]]);
    await publish(nats, 10, 'later');
    await done(nats);
    expect((await infoOf(nats)).num_redelivered).toBe(0);
    expect(await connectorOf(gateway)).toMatchObject({ state: 'running', settled: 20 });
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  });

  it('begins the old connector again when the new one cannot start', async () => {
    const { server, nats } = await setUp();
    const gateway = await start(server, { function: 'record' });
    const yaml = yamlOf(server, { function: 'record' });
    const { result, reasons } = await gateway.reload(yaml.replace('stream: JOBS', 'stream: NOT-THERE'));
    expect([result, reasons]).toEqual(['failed', [expect.stringContaining('connector "jobs" could not be started')]]);
    const bodies = await publish(nats, 5);
    await done(nats);
    expect(ran.toSorted()).toEqual(bodies);
    expect(await connectorOf(gateway)).toMatchObject({ state: 'running', settled: 5 });
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  });
});
