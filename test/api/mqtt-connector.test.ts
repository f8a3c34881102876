import { execFileSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import {
  all,
  bodiesOf,
  cleanUp,
  connectorOf,
  counted,
  gateway,
  inState,
  listening,
  type Options,
  publish,
  setUp,
} from '../support/mqtt-world.ts';
import { ran, ranHeaders } from '../support/plugins/inline.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

afterEach(cleanUp);

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

    it.each([1, 2] as const)('runs what of QoS %i came while the gateway was away', async (qos) => {
      const { broker, sender } = await setUp();
      const options = { version, subscribe: `{ topic: "jobs/#", qos: ${qos} }` };
      const first = await listening(broker, options);
      await first.gateway.stop(1000);
      const bodies = bodiesOf(200);
      await publish(sender, bodies, { qos });
      const running = await gateway(broker, options);
      await all(bodies);
      await expect.poll(() => counted(running, 'acknowledged_total')).toBe(200);
      expect(await counted(running, 'sessions_lost_total')).toBe(0);
    });

    it('shares the work of a group among gateways', async () => {
      const { broker, sender } = await setUp();
      const subscribe = '{ topic: "jobs/#", share: workers }';
      const one = await listening(broker, { version, subscribe, clientId: 'one' });
      const two = await listening(broker, { version, subscribe, clientId: 'two' });
      const bodies = bodiesOf(100);
      await publish(sender, bodies);
      await all(bodies);
      const shares = [Number((await connectorOf(one))['settled']), Number((await connectorOf(two))['settled'])];
      expect(Math.min(...shares)).toBeGreaterThan(0);
      expect(shares[0]! + shares[1]!).toBe(100);
    });

    it('ignores what is retained, or takes it at each start', async () => {
      const { broker, sender } = await setUp();
      await publish(sender, ['old'], { retain: true });
      const first = await listening(broker, { version });
      await publish(sender, ['live']);
      await all(['live']);
      await publish(sender, ['newer'], { retain: true });
      await all(['live', 'newer']);
      await first.gateway.stop(1000);
      for (const times of [1, 2]) {
        const one = await listening(broker, { version, subscribe: '{ topic: "jobs/#", retain: deliver }' });
        await all(['live', ...Array.from({ length: times + 1 }, () => 'newer')]);
        await one.gateway.stop(1000);
      }
    });

    it('takes QoS 0 where that is written out', async () => {
      const { broker, sender } = await setUp();
      const connector = 'function: record, delivery: at-most-once';
      const running = await listening(broker, { version, connector, subscribe: '{ topic: "jobs/#", qos: 0 }' });
      const bodies = bodiesOf(50);
      await publish(sender, bodies, { qos: 0 });
      await all(bodies);
      expect(await counted(running, 'unconfirmed_total')).toBe(50);
      expect(await counted(running, 'acknowledged_total')).toBe(0);
    });
  });

  it('gives the function what a message says, and what an event is', async () => {
    const { broker, sender } = await setUp();
    await listening(broker);
    const userProperties = { 'X-Trace': 'yes', specversion: '1.0', type: 'job.made', source: '/päge', id: '50% "x"' };
    await publish(sender, ['{}'], {
      properties: {
        userProperties,
        contentType: 'application/json',
        responseTopic: 'to/me',
        correlationData: Buffer.of(7),
      },
    });
    await all(['{}']);
    expect(ranHeaders[0]).toMatchObject({
      'x-trace': 'yes',
      'content-type': 'application/json',
      'ce-specversion': '1.0',
      'ce-type': 'job.made',
      'ce-source': '/p%C3%A4ge',
      'ce-id': '50%25%20%22x%22',
      'x-connector': 'mqtt',
      'x-topic': 'jobs/some',
      'x-mqtt-qos': '1',
      'x-mqtt-retain': 'false',
      'x-mqtt-duplicate': 'false',
      'x-mqtt-response-topic': 'to/me',
      'x-mqtt-correlation-data': 'Bw==',
    });
    await publish(sender, ['plain']);
    await expect.poll(() => ranHeaders.length).toBe(2);
    expect(ranHeaders[1]).toMatchObject({
      'ce-source': '/connectors/jobs',
      'ce-type': 'millrace.mqtt.message',
      'ce-subject': 'jobs/some',
    });
    expect(ranHeaders[1]).not.toHaveProperty('content-type');
  });

  it('takes events whole where the broker carries no headers', async () => {
    const { broker, sender } = await setUp();
    const connector = 'function: record, contentType: application/cloudevents+json';
    await listening(broker, { version: '3.1.1', connector });
    const event = JSON.stringify({ specversion: '1.0', id: '1', source: '/s', type: 't', data: 7 });
    await publish(sender, [event]);
    await all([event]);
    expect(ranHeaders[0]).toMatchObject({ 'content-type': 'application/cloudevents+json', 'x-topic': 'jobs/some' });
    expect(ranHeaders[0]).not.toHaveProperty('ce-id');
  });

  it('takes what mosquitto_pub sends', async () => {
    const { broker } = await setUp();
    await listening(broker, { subscribe: '{ topic: "plant/+/temp", qos: 2 }' });
    const { port } = new URL(broker.url);
    const property = (...words: string[]): string[] => ['-D', 'publish', ...words];
    const event = Object.entries({ specversion: '1.0', id: 'a-1', source: '/plant/7', type: 'temp.read' });
    const to = ['-h', '127.0.0.1', '-p', port, '-V', 'mqttv5', '-q', '2', '-t', 'plant/7/temp', '-m', '{"celsius":21}'];
    execFileSync('mosquitto_pub', [
      ...to,
      ...property('content-type', 'application/json'),
      ...event.flatMap(([name, value]) => property('user-property', name, value)),
    ]);
    await all(['{"celsius":21}']);
    expect(ranHeaders[0]).toMatchObject({
      'content-type': 'application/json',
      'ce-id': 'a-1',
      'ce-type': 'temp.read',
      'x-topic': 'plant/7/temp',
      'x-mqtt-qos': '2',
    });
  });

  it.each(['enqueued', 'processed'])(
    '%s: leaves what failed, and what is too large, among the dead letters',
    async (ack) => {
      const { broker, sender } = await setUp();
      const running = await listening(broker, { connector: `function: fail, ack: ${ack}` });
      const large = 'x'.repeat(20_000);
      await publish(sender, ['precious', large]);
      const letters = async (): Promise<{ id: string; reason: string }[]> =>
        ((await (await fetch(`${running.url}/system/dead-letters`)).json()) as { items: never[] }).items;
      await expect.poll(async () => (await letters()).length, { timeout: 10_000 }).toBe(2);
      const bodies = (await letters()).map(({ id }) => fetch(`${running.url}/system/dead-letters/${id}/body`));
      const texts = await Promise.all(bodies.map(async (body) => (await body).text()));
      expect(texts.toSorted()).toEqual(['precious', large].toSorted());
      await expect.poll(() => counted(running, 'acknowledged_total')).toBe(2);
    },
  );

  it('processed: tells the broker of nothing that has not ended', async () => {
    const { broker, sender } = await setUp();
    // What it had enqueued would be lost with its queue, in memory.
    const first = await listening(broker, { connector: 'function: never, ack: processed' });
    await publish(sender, ['precious']);
    await expect.poll(async () => (await connectorOf(first))['inFlight']).toBe(1);
    expect(await counted(first, 'acknowledged_total')).toBe(0);
    await first.gateway.stop(0);
    const second = await listening(broker, { connector: 'function: record, ack: processed' });
    await all(['precious']);
    await expect.poll(() => counted(second, 'acknowledged_total')).toBe(1);
  });

  it('takes retained messages once for a session that is new', async () => {
    const { broker, sender } = await setUp();
    await publish(sender, ['old'], { retain: true });
    const options = { subscribe: '{ topic: "jobs/#", retain: new }' };
    const first = await listening(broker, options);
    await all(['old']);
    await first.gateway.stop(1000);
    await listening(broker, options);
    await publish(sender, ['live']);
    await all(['old', 'live']);
  });

  it('refuses what would not keep its promise', async () => {
    const { broker } = await setUp();
    const refusal = (options: Options): Promise<string> =>
      gateway(broker, options).then(
        async (running) => {
          await inState(running, 'failed');
          return String((await connectorOf(running))['lastError']);
        },
        (error: Error) => error.message,
      );
    expect(await refusal({ subscribe: '{ topic: a, qos: 0 }' })).toContain('or write delivery: at-most-once');
    expect(await refusal({ subscribe: '{ topic: a/# }, { topic: a/+/b }' })).toContain('overlaps with a/#');
    expect(await refusal({ subscribe: '{ topic: a, share: g, retain: new }' })).toContain(
      'never given retained messages',
    );
    expect(await refusal({ connection: ', session: { clean: true }' })).toContain('write delivery: at-most-once');
    expect(await refusal({ connection: ', session: { expiry: 0s }' })).toContain(
      'a session that ends at once keeps nothing',
    );
    expect(await refusal({ version: '3.1.1', connection: ', session: { expiry: 1h }' })).toContain(
      'only version 5 has it',
    );
    expect(await refusal({ version: '3.1.1', subscribe: '{ topic: a, retain: new }' })).toContain('needs version 5');
    expect(await refusal({ version: '4' })).toContain('connections.main.version: expected 5, or expected "3.1.1"');
    expect(await refusal({ clientId: 'null' })).toContain('connections.main.clientId');
  });

  it('is failed, with a reason, by a broker that grants less than it asks for', async () => {
    const { broker } = await setUp('max_qos 0');
    const reason = async (version: string): Promise<unknown> => {
      const running = await gateway(broker, { version, clientId: `v${version}` });
      await inState(running, 'failed');
      return (await connectorOf(running))['lastError'];
    };
    expect(await reason('3.1.1')).toBe('the broker grants QoS 0 instead of 1 for the subscription to jobs/#');
    expect(await reason('5')).toBe('the broker says that it has no more than QoS 0: give a lower qos');
  });
});
