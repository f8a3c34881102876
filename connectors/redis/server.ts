import type { Redis, RedisOptions } from 'ioredis';
import type { Logger } from 'pino';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';

/** A source that forgets is its owner's choice, who is told of it. */
export async function warnIfVolatile(redis: RedisConnection, logger: Logger): Promise<void> {
  try {
    const durability = await redis.durability({ allowVolatile: true, declared: 'page-cache' });
    if (durability !== 'memory') return;
    logger.warn(
      'this Redis keeps no append-only file (appendonly no), or removes data when its memory is full: entries that have ' +
        'not been run may be lost there',
    );
  } catch (error) {
    logger.warn({ error: messageOf(error) }, 'whether this Redis keeps what it is given could not be learnt');
  }
}

/** A client with the settings of the connection, not connected yet: for what must not stand in the way of commands. */
export function clientOfItsOwn({ client }: RedisConnection, purpose: string, options: RedisOptions = {}): Redis {
  const server = client as Redis;
  return server.duplicate({ connectionName: `${server.options.connectionName}/${purpose}`, ...options });
}

/** What this connector does, it does on one server: the streams of a group may lie on several nodes of a cluster. */
export function refuseCluster({ client }: RedisConnection): void {
  if (!client.isCluster) return;
  throw new MillraceError(
    'config.invalid',
    'connectors of kind redis need a connection with url or sentinel; this one is a cluster (nodes)',
  );
}
