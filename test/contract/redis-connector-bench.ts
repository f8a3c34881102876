import { Redis } from 'ioredis';
import { redisConnectorConfig } from '../../connectors/redis/config.ts';
import { StreamConnector } from '../../connectors/redis/streams.ts';
import type { Connector } from '../../core/contracts/connector.ts';
import {
  brokerTraits,
  type ConnectorBench,
  type ConnectorTraits,
  type Outgoing,
} from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import { startBroker } from '../support/brokers.ts';
import { redisConnection } from './redis-bench.ts';

/** A stream and its consumer group can do all that the contract asks for. */
export const redisTraits: ConnectorTraits = brokerTraits;

const claimIdleMs = 600;
let count = 0;

/** A stream of its own on that server, or on one of its own without. */
export async function redisConnectorBench(url: string | undefined): Promise<ConnectorBench> {
  const topic = `trial-${process.pid}-${++count}`;
  // What it has confirmed it has after a kill -9: with `everysec` it holds writes back while it syncs.
  const own = url === undefined ? await startBroker('redis', { settings: ['appendfsync always'] }) : undefined;
  const server = own?.url ?? url ?? '';
  const client = new Redis(server, { retryStrategy: () => 50, maxRetriesPerRequest: 0 });
  // It dials on; whoever asks meanwhile is told.
  client.on('error', () => undefined);
  const keys = [topic];
  const dialled: RedisConnection[] = [];
  const open = async (gateway: number, stream: Record<string, unknown> = {}): Promise<Connector> => {
    const connection = redisConnection(server);
    dialled.push(connection);
    await connection.start();
    const config = redisConnectorConfig.parse({
      stream: { key: topic, group: 'workers', ...stream },
      consumer: nameOf(gateway),
      claimIdle: `${claimIdleMs}ms`,
    });
    if (!config.stream) throw new Error('the stream is gone from the configuration');
    const host = connectorHost('redis', { connection });
    const connector = new StreamConnector({ stream: config.stream, config }, host, connection);
    await connector.start();
    return connector;
  };
  return {
    kind: 'redis',
    topic,
    open: (gateway) => open(gateway),
    send: async (messages) => {
      for (const message of messages) await client.xadd(topic, '*', ...fieldsOf(message));
    },
    left: async () => {
      const [group] = (await client.xinfo('GROUPS', topic).catch(() => [])) as (string | number)[][];
      // Nobody has made the group yet: all waits for it.
      if (!group) return client.xlen(topic);
      const valueOf = (name: string): string | number | undefined => group[group.indexOf(name) + 1];
      const waiting = await client.xrange(topic, `(${valueOf('last-delivered-id')}`, '+');
      return Number(valueOf('pending')) + waiting.length;
    },
    // As one who thought that gateway dead takes it over, and dies before it has said a word of it.
    lose: async (gateway) => {
      const rows = (await client.xpending(topic, 'workers', '-', '+', 1000, nameOf(gateway))) as [id: string][];
      const ids = rows.map(([id]) => id);
      if (ids.length > 0) await client.xclaim(topic, 'workers', 'dead', 0, ...ids, 'IDLE', claimIdleMs, 'JUSTID');
    },
    ...(own && {
      away: async () => {
        await own.kill();
        return () => own.restart();
      },
    }),
    refused: [
      {
        what: 'a group that is not there',
        start: () => open(0, { group: 'none', create: false }),
        names: 'has no group none',
      },
      {
        what: 'a key that is no stream',
        start: async () => {
          const key = `${topic}-text`;
          keys.push(key);
          await client.set(key, 'no stream');
          await open(0, { key });
        },
        names: 'is no stream',
      },
    ],
    dispose: async () => {
      if (!own) await client.del(...keys);
      client.disconnect();
      for (const connection of dialled) await connection.stop();
      await own?.dispose();
    },
  };
}

function nameOf(gateway: number): string {
  return `gateway-${gateway}`;
}

/** The body is a field of its own, and the attributes of an event have the prefix of the binding of HTTP. */
function fieldsOf({ body, headers = {}, event = {} }: Outgoing): (string | Buffer)[] {
  const attributes = Object.entries(event).map(([name, value]) => [`ce-${name}`, value]);
  return [...Object.entries(headers), ...attributes, ['body', Buffer.from(body)]].flat() as (string | Buffer)[];
}
