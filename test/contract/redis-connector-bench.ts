import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { redisConnectorConfig } from '../../connectors/redis/config.ts';
import { StreamConnector } from '../../connectors/redis/streams.ts';
import type { Connector } from '../../core/contracts/connector.ts';
import { brokerTraits, type ConnectorBench, type ConnectorTraits } from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import { startBroker } from '../support/brokers.ts';
import { redisConnection } from './redis-bench.ts';

export const redisTraits: ConnectorTraits = brokerTraits;

const claimIdleMs = 2000;
const group = 'trial';

/** A stream of its own on that server, or on one of its own without. */
export async function redisConnectorBench(url: string | undefined): Promise<ConnectorBench> {
  const key = `trial-${randomUUID()}`;
  const own = url === undefined ? await startBroker('redis', { settings: ['appendfsync always'] }) : undefined;
  const server = own?.url ?? url ?? '';
  const redis = new Redis(server, { retryStrategy: () => 50 });
  redis.on('error', () => {});
  const dialled: RedisConnection[] = [];
  const open = async (gateway: number, settings: Record<string, unknown> = {}): Promise<Connector> => {
    const connection = redisConnection(server);
    dialled.push(connection);
    await connection.start();
    const config = redisConnectorConfig.parse({
      stream: { key, group, ...settings },
      consumer: `gateway-${gateway}`,
      claimIdle: `${claimIdleMs}ms`,
    });
    if (!config.stream) throw new Error('no stream');
    const connector = new StreamConnector(
      { stream: config.stream, config },
      connectorHost('redis', { connection }),
      connection,
    );
    await connector.start();
    return connector;
  };
  return {
    kind: 'redis',
    topic: key,
    open: (gateway) => open(gateway),
    send: async (messages) => {
      const adding = redis.pipeline();
      for (const { body, headers = {}, event = {} } of messages) {
        const attributes = Object.entries(event).map(([name, value]) => [`ce-${name}`, value]);
        const fields = [...Object.entries(headers), ...attributes].flat();
        adding.xadd(key, '*', ...fields, 'body', Buffer.from(body));
      }
      for (const [error] of (await adding.exec()) ?? []) if (error) throw error;
    },
    left: async () => {
      const rows = (await redis.xinfo('GROUPS', key).catch(() => [])) as unknown[][];
      const [row] = rows;
      // Nobody has made the group yet: all waits for it.
      if (!row) return redis.xlen(key);
      const field = (name: string): number => Number(row[row.indexOf(name) + 1]);
      return field('pending') + field('lag');
    },
    lose: async (gateway) => {
      const rows = (await redis.xpending(key, group, '-', '+', 10_000, `gateway-${gateway}`)) as [id: string][];
      if (rows.length === 0) return;
      const ids = rows.map(([id]) => id);
      // To one that died long ago.
      await redis.call('XCLAIM', key, group, 'dead', 0, ...ids, 'IDLE', claimIdleMs, 'JUSTID');
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
          await redis.set(`${key}-text`, '', 'EX', 60);
          await open(0, { key: `${key}-text` });
        },
        names: 'is no stream',
      },
    ],
    dispose: async () => {
      if (!own) await redis.del(key);
      redis.disconnect();
      for (const connection of dialled) await connection.stop();
      await own?.dispose();
    },
  };
}
