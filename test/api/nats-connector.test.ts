import { connect, headers as natsHeaders, type NatsConnection } from 'nats';
import { afterEach, describe, expect, it } from 'vitest';
import { natsConnectorConfig } from '../../connectors/nats/config.ts';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const cleanups: (() => PromiseLike<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

interface Shown {
  readonly headers: Record<string, string | string[]>;
  readonly body: string;
}

const yaml = (url: string, more = ''): string => `
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { body: 10KiB } }
connections: { main: { kind: nats, servers: "${url}" } }
functions:
  echo: { behaviour: echo }
  show: { behaviour: show }
  fail: { behaviour: fail }
  never: { behaviour: never, invoke: { timeout: 1m, concurrency: 100 } }
connectors:
  greet: { kind: nats, delivery: at-most-once, subjects: ["greet.*", "deep.>"], function: show }
  queued: { kind: nats, delivery: at-most-once, subjects: [queued], function: echo, ack: enqueued }
  failing: { kind: nats, delivery: at-most-once, subjects: [failing], function: fail }
  held: { kind: nats, delivery: at-most-once, subjects: [held], function: never, credit: 2, buffer: 3 }
  missing: { kind: nats, delivery: at-most-once, subjects: [echoed], function: echo }
${more}`;

async function client(broker: OwnBroker): Promise<NatsConnection> {
  const connection = await connect({ servers: broker.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  cleanups.push(() => connection.close());
  return connection;
}

async function gatewayOn(broker: OwnBroker): Promise<TestGateway> {
  const gateway = await testGateway(yaml(broker.url));
  cleanups.push(() => gateway[Symbol.asyncDispose]());
  return gateway;
}

async function broker(): Promise<OwnBroker> {
  const started = await startBroker('nats');
  cleanups.push(() => started.dispose());
  return started;
}

const connectorOf = async ({ url }: TestGateway, name: string): Promise<Record<string, unknown>> => {
  const rows = (await (await fetch(`${url}/system/connectors`)).json()) as Record<string, unknown>[];
  return rows.find((row) => row['name'] === name) ?? {};
};

await describeWithOwnBroker('nats', 'connector nats', () => {
  it('runs its function with what the message says, as a CloudEvent, and replies with the answer', async () => {
    const server = await broker();
    await gatewayOn(server);
    const nats = await client(server);
    const headers = natsHeaders();
    headers.append('Traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01');
    headers.append('X-Many', 'one');
    headers.append('X-Many', 'two');
    const answer = await nats.request('greet.world', 'hello', { headers, timeout: 5000 });
    expect(answer.headers?.get('Nats-Service-Error-Code')).toBe('');
    expect(answer.headers?.get('content-type')).toBe('application/json');
    expect(answer.headers?.get('X-Call-Id')).toMatch(/^[0-9A-Z]{26}$/);
    const shown = answer.json<Shown>();
    expect(shown.body).toBe('hello');
    expect(shown.headers).toMatchObject({
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      'x-many': ['one', 'two'],
      'x-connector': 'nats',
      'x-topic': 'greet.world',
      'ce-specversion': '1.0',
      'ce-source': '/connectors/greet',
      'ce-type': 'millrace.nats.message',
      'ce-subject': 'greet.world',
    });
    expect((await nats.request('deep.a.b.c', '', { timeout: 5000 })).json<Shown>().headers['x-topic']).toBe(
      'deep.a.b.c',
    );
    await expect(nats.request('greet', '', { timeout: 500 })).rejects.toThrow('503');
  });

  it('leaves an event that is one as it is, binary or structured', async () => {
    const server = await broker();
    await gatewayOn(server);
    const nats = await client(server);
    const binary = natsHeaders();
    for (const [name, value] of [
      ['ce-specversion', '1.0'],
      ['ce-id', 'mine'],
      ['ce-type', 'order'],
      ['ce-source', '/shop'],
    ] as const) {
      binary.set(name, value);
    }
    const shown = (await nats.request('greet.x', '', { headers: binary, timeout: 5000 })).json<Shown>();
    expect(shown.headers).toMatchObject({ 'ce-id': 'mine', 'ce-type': 'order', 'ce-source': '/shop' });
    expect(shown.headers).not.toHaveProperty('ce-subject');
    const structured = natsHeaders();
    structured.set('content-type', 'application/cloudevents+json');
    const other = (await nats.request('greet.x', '{}', { headers: structured, timeout: 5000 })).json<Shown>();
    expect(other.headers).not.toHaveProperty('ce-id');
  });

  it('goes through the queue where it says so, and replies when that is durable', async () => {
    const server = await broker();
    const gateway = await gatewayOn(server);
    const nats = await client(server);
    const answer = await nats.request('queued', 'later', { timeout: 5000 });
    expect(answer.headers?.get('X-Durability')).toBe('memory');
    const id = answer.headers?.get('X-Invocation-Id') ?? '';
    expect(await (await fetch(`${gateway.url}/invocations/${id}/result?wait=5s`)).text()).toBe('later');
  });

  it('tells errors as NATS services do', async () => {
    const server = await broker();
    await gatewayOn(server);
    const nats = await client(server);
    const failed = await nats.request('failing', '', { timeout: 5000 });
    expect(failed.headers?.get('Nats-Service-Error-Code')).toBe('500');
    expect(failed.string()).toBe('it failed');
    const large = await nats.request('echoed', new Uint8Array(11_000), { timeout: 5000 });
    expect(large.headers?.get('Nats-Service-Error-Code')).toBe('413');
    expect(large.string()).toContain('limit.body');
  });

  it('counts a failure that nobody waits for, and replies to nobody', async () => {
    const server = await broker();
    const { gateway } = await gatewayOn(server);
    const nats = await client(server);
    const replies: string[] = [];
    nats.subscribe('>', { callback: (_error, { subject }) => void replies.push(subject) });
    const headers = natsHeaders();
    headers.set('X-Some', 'header');
    nats.publish('failing', 'bare');
    nats.publish('failing', 'with a header', { headers });
    await nats.flush();
    await eventually(async () => {
      const metrics = await (await fetch(`${gateway.managementUrl}/metrics`)).text();
      return metrics.includes('millrace_nats_failed_total{connector="failing"} 2\n') ? true : undefined;
    });
    await nats.flush();
    expect(replies).toEqual(['failing', 'failing']);
  });

  it('gives each message to one of the gateways of its group', async () => {
    const server = await broker();
    const gateways = [await gatewayOn(server), await gatewayOn(server)];
    const nats = await client(server);
    for (let index = 0; index < 40; index++) nats.publish('greet.all', `n${index}`);
    await nats.flush();
    const settled = async (): Promise<number[]> =>
      Promise.all(gateways.map(async (gateway) => Number((await connectorOf(gateway, 'greet'))['settled'])));
    await eventually(async () => ((await settled()).reduce((sum, one) => sum + one, 0) >= 40 ? true : undefined));
    const counts = await settled();
    expect(counts.reduce((sum, one) => sum + one, 0)).toBe(40);
    for (const count of counts) expect(count).toBeGreaterThan(0);
  });

  it('holds no more than its credit and its buffer, and tells who waits for the rest', async () => {
    const server = await broker();
    const gateway = await gatewayOn(server);
    const nats = await client(server);
    const asked = Array.from({ length: 9 }, (_, index) => nats.request('held', `n${index}`, { timeout: 20_000 }));
    const refused = await Promise.all(asked.slice(5));
    for (const answer of refused) expect(answer.headers?.get('Nats-Service-Error-Code')).toBe('503');
    expect(await connectorOf(gateway, 'held')).toMatchObject({ inFlight: 2, lag: 3 });
    for (const one of asked.slice(0, 5)) one.catch(() => undefined);
    await gateway.gateway.stop(100);
    // What waited is told as well; what ran until the drain deadline is broken off.
    for (const one of asked.slice(2, 5)) {
      expect((await one).headers?.get('Nats-Service-Error-Code')).toBe('503');
    }
  });

  it('listens again when the server is back', async () => {
    const server = await broker();
    const gateway = await gatewayOn(server);
    const nats = await client(server);
    expect((await nats.request('greet.x', '1', { timeout: 5000 })).json<Shown>().body).toBe('1');
    await server.kill();
    await eventually(async () =>
      (await connectorOf(gateway, 'greet'))['state'] === 'reconnecting' ? true : undefined,
    );
    const back = performance.now();
    await server.restart();
    await eventually(async () => {
      const answer = await nats.request('greet.x', '2', { timeout: 200 }).catch(() => undefined);
      return answer?.json<Shown>().body === '2' ? true : undefined;
    });
    expect(performance.now() - back).toBeLessThan(10_000);
    expect(await connectorOf(gateway, 'greet')).toMatchObject({ state: 'running', reconnects: 1 });
  });
});

describe('the settings of connector nats', () => {
  const problemsOf = (settings: Record<string, unknown>): string =>
    natsConnectorConfig
      .safeParse({ delivery: 'at-most-once', subjects: ['a'], ...settings })
      .error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
      .join('\n') ?? '';
  it.each([
    [{ delivery: undefined }, 'delivery: must be "at-most-once", written out'],
    [{ delivery: 'at-least-once' }, 'use a connector of kind "jetstream"'],
    [{ subjects: [] }, 'subjects'],
    [{ subjects: ['a..b'] }, 'subjects.0: expected a subject'],
    [{ subjects: ['a.>.b'] }, 'subjects.0: expected a subject'],
    [{ subjects: ['$SYS.>'] }, 'those of the server'],
    [{ subjects: ['a.*', 'a.b'] }, 'subjects.1: overlaps with a.*'],
    [{ subjects: ['a.>', '*.b.c'] }, 'subjects.1: overlaps with a.>'],
    [{ group: 'a b' }, 'group: expected a name'],
  ])('%j is refused', (settings, text) => {
    expect(problemsOf(settings)).toContain(text);
  });
  it.each([[['a', 'b']], [['a.*', 'a.*.c']], [['a.>', 'a']], [['>']], [['ü.*']]])('%j is accepted', (subjects) => {
    expect(problemsOf({ subjects })).toBe('');
  });
});
