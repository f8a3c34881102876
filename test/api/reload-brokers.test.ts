import { randomUUID } from 'node:crypto';
import { connect as connectAmqp } from 'amqplib';
import { Redis } from 'ioredis';
import { Kafka, logLevel } from 'kafkajs';
import { connectAsync } from 'mqtt';
import { expect, it } from 'vitest';
import type { BrokerKind } from '../support/brokers.ts';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { holds, ran } from '../support/plugins/inline.ts';
import { describeWithBroker } from '../support/with-broker.ts';

/** A broker that a gateway takes messages from, and a producer of any kind. */
interface Source {
  /** The connection's keys. */
  readonly connection: string;
  /** The connector's own keys, for that address. */
  readonly connector: (address: string) => string;
  /** It acknowledges what is in a queue: the function says nothing of what the connector has in flight. */
  readonly ack?: 'enqueued';
  /** Resolves once the broker has them. */
  readonly send: (address: string, bodies: readonly string[]) => Promise<void>;
  readonly close: () => Promise<unknown>;
}

const sources: Readonly<Record<Exclude<BrokerKind, 'nats'>, (url: string, addresses: string[]) => Promise<Source>>> = {
  redis: async (url) => {
    const redis = new Redis(url);
    return {
      connection: `kind: redis, url: "${url}"`,
      connector: (address) => `kind: redis, stream: { key: ${address} }`,
      send: async (address, bodies) => {
        for (const body of bodies) await redis.xadd(address, '*', 'body', body);
      },
      close: () => redis.quit(),
    };
  },
  amqp: async (url, addresses) => {
    const client = await connectAmqp(url);
    const channel = await client.createConfirmChannel();
    for (const address of addresses) await channel.assertQueue(address, { arguments: { 'x-queue-type': 'quorum' } });
    return {
      connection: `kind: amqp, url: "${url}"`,
      connector: (address) => `kind: amqp, queue: { name: ${address} }`,
      send: async (address, bodies) => {
        for (const body of bodies) channel.publish('', address, Buffer.from(body));
        await channel.waitForConfirms();
      },
      close: async () => {
        for (const address of addresses) await channel.deleteQueue(address);
        await client.close();
      },
    };
  },
  kafka: async (url, addresses) => {
    const client = new Kafka({ brokers: [url], logLevel: logLevel.NOTHING });
    const [admin, producer] = [client.admin(), client.producer()];
    await Promise.all([admin.connect(), producer.connect()]);
    await admin.createTopics({ topics: addresses.map((topic) => ({ topic, numPartitions: 1 })) });
    return {
      connection: `kind: kafka, brokers: "${url}"`,
      connector: (address) => `kind: kafka, subscribe: { topics: [${address}], group: ${address} }`,
      send: async (topic, bodies) => {
        await producer.send({ topic, messages: bodies.map((value) => ({ value })) });
      },
      close: () => Promise.all([admin.disconnect(), producer.disconnect()]),
    };
  },
  mqtt: async (url) => {
    const client = await connectAsync(url);
    return {
      connection: `kind: mqtt, url: "${url}", clientId: "${randomUUID()}"`,
      connector: (address) => `kind: mqtt, subscribe: [{ topic: ${address} }]`,
      ack: 'enqueued',
      send: async (address, bodies) => {
        for (const body of bodies) await client.publishAsync(address, body, { qos: 1 });
      },
      close: async () => client.endAsync(),
    };
  },
};

const connectorOf = async ({ url }: TestGateway, name: string): Promise<Record<string, unknown>> => {
  const rows = (await (await fetch(`${url}/system/connectors`)).json()) as Record<string, unknown>[];
  return rows.find((row) => row['name'] === name) ?? {};
};
const isRunning = (gateway: TestGateway, name: string): Promise<void> =>
  expect.poll(async () => (await connectorOf(gateway, name))['state'], { timeout: 20_000 }).toBe('running');

for (const [kind, open] of Object.entries(sources)) {
  await describeWithBroker(kind as BrokerKind, `a reload with ${kind}`, (url) => {
    it('restarts a connector that changed, and leaves the other one its connection and what it has in flight', async () => {
      const [kept, changed] = [`kept-${randomUUID().slice(0, 8)}`, `changed-${randomUUID().slice(0, 8)}`];
      const source = await open(url, [kept, changed]);
      const ack = source.ack === undefined ? '' : `ack: ${source.ack},`;
      const yamlOf = (credit: number): string => `
gateway: { listen: { port: 0 }, management: { port: 0 } }
connections: { main: { ${source.connection} } }
functions: { held: { behaviour: held, invoke: { timeout: 1m } }, record: { behaviour: record } }
connectors:
  kept: { ${source.connector(kept)}, ${ack} function: held }
  changed: { ${source.connector(changed)}, ${ack} function: record, credit: ${credit} }`;
      ran.length = 0;
      holds.length = 0;
      await using gateway = await testGateway(yamlOf(8));
      for (const name of ['kept', 'changed']) await isRunning(gateway, name);
      await source.send(kept, ['a', 'b', 'c']);
      await source.send(changed, ['1', '2']);
      await expect.poll(() => [holds.length, ran.toSorted()], { timeout: 20_000 }).toEqual([3, ['1', '2']]);
      const { result, changes } = await gateway.reload(yamlOf(4));
      expect([result, changes]).toEqual(['ok', 'connectors.changed changed']);
      expect(await connectorOf(gateway, 'kept')).toMatchObject({ state: 'running', reconnects: 0 });
      if (!source.ack) expect(await connectorOf(gateway, 'kept')).toMatchObject({ inFlight: 3 });
      await isRunning(gateway, 'changed');
      await source.send(changed, ['3', '4']);
      await expect.poll(() => ran.toSorted(), { timeout: 20_000 }).toEqual(['1', '2', '3', '4']);
      await expect
        .poll(() => connectorOf(gateway, 'changed'), { timeout: 20_000 })
        .toMatchObject({ credit: 4, settled: 2 });
      for (const hold of holds) hold.release();
      await expect
        .poll(() => connectorOf(gateway, 'kept'), { timeout: 20_000 })
        .toMatchObject({ inFlight: 0, settled: 3, reconnects: 0 });
      expect(holds.map(({ body }) => body).toSorted()).toEqual(['a', 'b', 'c']);
      const rows = (await (await fetch(`${gateway.url}/system/connections`)).json()) as unknown[];
      expect(rows).toMatchObject([{ name: 'main', state: 'connected', reconnects: 0 }]);
      await source.close();
    }, 60_000);
  });
}
