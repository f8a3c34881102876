import { AckPolicy, connect, headers as natsHeaders, type NatsConnection } from 'nats';
import { afterEach, expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { holds, ran, ranHeaders } from '../support/plugins/inline.ts';
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
  ranHeaders.length = 0;
  return { server, nats };
}

async function gateway(server: OwnBroker, connector: string, stream = 'JOBS'): Promise<TestGateway> {
  const running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { asyncBody: 10KiB } }
connections: { main: { kind: nats, servers: "${server.url}" } }
policies: { retry: { quick: { attempts: 2, backoff: { kind: fixed, initial: 20ms, jitter: none } } } }
functions:
  record: { behaviour: record }
  show: { behaviour: show }
  held: { behaviour: held, invoke: { timeout: 1m } }
  never: { behaviour: never, invoke: { timeout: 1m } }
  fail: { behaviour: fail, invoke: { retry: quick } }
connectors: { jobs: { kind: jetstream, stream: ${stream}, durable: workers, ${connector} } }
`);
  cleanups.push(() => running[Symbol.asyncDispose]());
  return running;
}

const publish = async (nats: NatsConnection, count: number, prefix = 'n'): Promise<string[]> => {
  const bodies = Array.from({ length: count }, (_, index) => `${prefix}${index}`);
  for (const body of bodies) await nats.jetstream().publish('jobs.some', body);
  return bodies;
};
const infoOf = async (nats: NatsConnection) => (await nats.jetstreamManager()).consumers.info('JOBS', 'workers');
const isDone = async (nats: NatsConnection): Promise<boolean> => {
  const { num_ack_pending: unacknowledged, num_pending: waiting } = await infoOf(nats);
  return unacknowledged + waiting === 0;
};
const done = (nats: NatsConnection): Promise<void> =>
  expect.poll(() => isDone(nats).catch(() => false), { timeout: 20_000 }).toBe(true);
const connectorOf = async ({ url }: TestGateway): Promise<Record<string, unknown>> => {
  const rows = (await (await fetch(`${url}/system/connectors`)).json()) as Record<string, unknown>[];
  return rows.find((row) => row['name'] === 'jobs') ?? {};
};

await describeWithOwnBroker('nats', 'connector jetstream', () => {
  it('leaves nothing lent when it stops, and runs each message once over many stops', async () => {
    const { server, nats } = await setUp();
    const sent: string[] = [];
    const over = new AbortController();
    const publishing = (async () => {
      while (!over.signal.aborted) sent.push(...(await publish(nats, 20, `at ${sent.length} `)));
    })();
    cleanups.push(async () => {
      over.abort();
      await publishing;
    });
    for (let round = 0; round < 10; round++) {
      const before = ran.length;
      const running = await gateway(server, 'function: record, credit: 64, ackWait: 10m');
      await expect.poll(() => ran.length, { timeout: 20_000, interval: 5 }).toBeGreaterThan(before);
      await running.gateway.stop();
    }
    over.abort();
    await publishing;
    await gateway(server, 'function: record, ackWait: 10m');
    await done(nats);
    expect(ran.toSorted()).toEqual(sent.toSorted());
  }, 60_000);

  it('runs each message once, from the first one that the stream holds, and acknowledges it', async () => {
    const { server, nats } = await setUp();
    const before = await publish(nats, 20, 'before');
    const running = await gateway(server, 'function: record');
    const after = await publish(nats, 100, 'after');
    await done(nats);
    expect(ran.toSorted()).toEqual([...before, ...after].toSorted());
    expect((await infoOf(nats)).num_redelivered).toBe(0);
    expect(await connectorOf(running)).toMatchObject({ state: 'running', settled: 120, inFlight: 0, lag: 0 });
  });

  it('gives the function what the message says, as a CloudEvent', async () => {
    const { server, nats } = await setUp();
    const running = await gateway(server, 'function: record, ack: enqueued');
    const headers = natsHeaders();
    headers.set('X-Trace', 'yes');
    await nats.jetstream().publish('jobs.a.b', 'body', { headers });
    await done(nats);
    await expect.poll(() => ran).toEqual(['body']);
    expect(ranHeaders[0]).toMatchObject({
      'x-trace': 'yes',
      'x-connector': 'jetstream',
      'x-topic': 'jobs.a.b',
      'x-nats-stream': 'JOBS',
      'x-nats-sequence': '1',
      'ce-id': 'JOBS:1',
      'ce-source': '/connectors/jobs',
      'ce-type': 'millrace.jetstream.message',
      'ce-subject': 'jobs.a.b',
    });
    const metrics = await (await fetch(`${running.gateway.managementUrl}/metrics`)).text();
    expect(metrics).toMatch(/millrace_jetstream_acknowledged_total\{[^}]*\} 1/);
  });

  it('leaves what failed in the queue, in the end as a dead letter with its bytes', async () => {
    const { server, nats } = await setUp();
    const running = await gateway(server, 'function: fail');
    await nats.jetstream().publish('jobs.x', 'precious');
    await done(nats);
    const letters = async (): Promise<{ id: string; attempt: number; envelope?: unknown }[]> =>
      ((await (await fetch(`${running.url}/system/dead-letters`)).json()) as { items: never[] }).items;
    await expect.poll(async () => (await letters()).length, { timeout: 10_000 }).toBe(1);
    const [letter] = await letters();
    expect(letter).toMatchObject({ attempt: 2, reason: 'max_attempts' });
    expect(await (await fetch(`${running.url}/system/dead-letters/${letter?.id}/body`)).text()).toBe('precious');
  });

  it('leaves what is too large for the queue among the dead letters, with its bytes', async () => {
    const { server, nats } = await setUp();
    const running = await gateway(server, 'function: record, ack: enqueued');
    const large = 'x'.repeat(20_000);
    await nats.jetstream().publish('jobs.x', large);
    await done(nats);
    const letters = (await (await fetch(`${running.url}/system/dead-letters`)).json()) as { items: { id: string }[] };
    expect(letters.items).toMatchObject([{ reason: 'permanent' }]);
    const body = await fetch(`${running.url}/system/dead-letters/${letters.items[0]?.id}/body`);
    expect(await body.text()).toBe(large);
    expect(ran).toEqual([]);
  });

  it('keeps a message for as long as its function runs, ten times the patience of the server', async () => {
    const { server, nats } = await setUp();
    holds.length = 0;
    await gateway(server, 'function: held, ackWait: 1s');
    await publish(nats, 5);
    await expect.poll(() => holds.length).toBe(5);
    await sleep(10_000);
    for (const hold of holds) hold.release();
    await done(nats);
    expect(holds.length).toBe(5);
    expect((await infoOf(nats)).num_redelivered).toBe(0);
    expect((await infoOf(nats)).delivered.consumer_seq).toBe(5);
  });

  it('hands back at a stop what has not ended, so that another gateway has it at once', async () => {
    const { server, nats } = await setUp();
    const first = await gateway(server, 'function: never, ackWait: 1m');
    await publish(nats, 3);
    await expect.poll(async () => (await connectorOf(first))['inFlight']).toBe(3);
    await first.gateway.stop(50);
    await gateway(server, 'function: record, ackWait: 1m');
    await done(nats);
    expect(ran.toSorted()).toEqual(['n0', 'n1', 'n2']);
  });

  it('loses nothing and goes on by itself when the server is killed while it works', async () => {
    const { server, nats } = await setUp();
    const running = await gateway(server, 'function: record, ackWait: 2s');
    const confirmed = await publish(nats, 100, 'before');
    await server.kill();
    await expect.poll(async () => (await connectorOf(running))['state']).toBe('reconnecting');
    await server.restart();
    const back = performance.now();
    await expect
      .poll(
        () =>
          nats
            .jetstream()
            .publish('jobs.some', 'after')
            .then(
              () => true,
              () => false,
            ),
        { timeout: 10_000 },
      )
      .toBe(true);
    await expect.poll(() => ran.includes('after'), { timeout: 10_000 }).toBe(true);
    expect(performance.now() - back).toBeLessThan(10_000);
    await done(nats);
    for (const body of confirmed) expect(ran).toContain(body);
  });

  it('makes a consumer anew that somebody removed', async () => {
    const { server, nats } = await setUp();
    await gateway(server, 'function: record, start: new');
    await publish(nats, 1, 'first');
    await done(nats);
    await (await nats.jetstreamManager()).consumers.delete('JOBS', 'workers');
    await expect
      .poll(
        () =>
          infoOf(nats).then(
            () => true,
            () => false,
          ),
        { timeout: 15_000 },
      )
      .toBe(true);
    await publish(nats, 1, 'second');
    await done(nats);
    expect(ran).toEqual(['first0', 'second0']);
  }, 30_000);

  it('begins where it is told', async () => {
    const { server, nats } = await setUp();
    await publish(nats, 10);
    await gateway(server, 'function: record, start: { sequence: 8 }');
    await done(nats);
    expect(ran.toSorted()).toEqual(['n7', 'n8', 'n9']);
  });

  it('refuses a stream that is not there, and a consumer that is another one', async () => {
    const { server, nats } = await setUp();
    const failureOf = async (stream: string): Promise<string> => {
      const { lastError } = await connectorOf(await gateway(server, 'function: record', stream));
      return String(lastError);
    };
    expect(await failureOf('NONE')).toContain('there is no stream NONE');
    await (
      await nats.jetstreamManager()
    ).consumers.add('JOBS', {
      durable_name: 'workers',
      ack_policy: AckPolicy.Explicit,
      ack_wait: 5_000_000_000,
      filter_subject: 'jobs.a',
    });
    const text = await failureOf('JOBS');
    expect(text).toContain('ack_wait is 5000 ms, expected 30000 ms');
    expect(text).toContain('subjects is jobs.a, expected all');
  });
});
