import type { Redis } from 'ioredis';
import redis from '../../connectors/redis/index.ts';
import { redisConnectorConfig } from '../../connectors/redis/config.ts';
import type { Connector } from '../../core/contracts/connector.ts';
import { brokerTraits, type ConnectorBench, type Outgoing } from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import { startBroker } from '../support/brokers.ts';
import { redisConnection } from './redis-bench.ts';

export const redisTraits = brokerTraits;

const group = 'trial';
let count = 0;

/** A stream of its own on that server, or on one of its own without. */
export async function redisConnectorBench(url: string | undefined): Promise<ConnectorBench> {
  const own = url === undefined ? await startBroker('redis', { settings: ['appendfsync always'] }) : undefined;
  const key = `trial:${process.pid}:${++count}`;
  const dialled: RedisConnection[] = [];
  const dial = async (): Promise<RedisConnection> => {
    const connection = redisConnection(own?.url ?? url ?? '');
    dialled.push(connection);
    await connection.start();
    return connection;
  };
  const sender = await dial();
  const client = sender.client as Redis;
  const open = async (gateway: number, stream: object): Promise<Connector> => {
    const config = redisConnectorConfig.parse({ stream, consumer: `gateway-${gateway}`, claimIdle: '1s' });
    const connector = redis.create(config, connectorHost('redis', { connection: await dial() }));
    await connector.start();
    return connector;
  };
  return {
    kind: 'redis',
    topic: key,
    open: (gateway) => open(gateway, { key, group }),
    send: async (messages) => {
      for (const message of messages) await client.xadd(key, '*', ...fieldsOf(message));
    },
    left: async () => {
      const groups = (await client.xinfo('GROUPS', key).catch(() => [])) as readonly (readonly unknown[])[];
      const [ours] = groups;
      if (!ours) return client.xlen(key);
      const about = (name: string): unknown => ours[ours.indexOf(name) + 1];
      const waiting = await client.xrange(key, `(${String(about('last-delivered-id'))}`, '+');
      return Number(about('pending')) + waiting.length;
    },
    lose: async (gateway) => {
      const pending = await client.xpending(key, group, '-', '+', 1000, `gateway-${gateway}`);
      const ids = pending.map((entry) => String((entry as readonly unknown[])[0]));
      // By one who at once says nothing of it any more, so that it is there for whoever looks.
      await client.xclaim(key, group, 'thief', 0, ...ids, 'IDLE', 60_000, 'JUSTID');
    },
    ...(own && {
      away: async () => {
        await own.kill();
        return () => own.restart();
      },
    }),
    refused: [
      { what: 'a stream that is not there', start: () => open(0, { key: 'NONE', create: false }), names: 'NONE' },
    ],
    dispose: async () => {
      if (!own) await client.del(key);
      for (const connection of dialled) await connection.stop();
      await own?.dispose();
    },
  };
}

/** With the attributes of an event as HTTP has them: there is no binding for Redis. */
function fieldsOf({ body, headers = {}, event = {} }: Outgoing): (string | Buffer)[] {
  const attributes = Object.entries(event).map(([name, value]) => [`ce-${name}`, value] as const);
  return [...[...Object.entries(headers), ...attributes].flat(), 'body', Buffer.from(body)];
}
