import { join } from 'node:path';
import { systemClock } from '../../core/contracts/clock.ts';
import { createId } from '../../core/delivery/ids.ts';
import { memoryConfig } from '../../plugins/queues/memory/index.ts';
import { MemoryQueue } from '../../plugins/queues/memory/queue.ts';
import { dial as dialAmqp, queueOn as amqpQueue } from '../../test/contract/amqp-bench.ts';
import { dial as dialNats, jetstreamQueue } from '../../test/contract/jetstream-bench.ts';
import { dial as dialKafka, queueOn as kafkaQueue } from '../../test/contract/kafka-bench.ts';
import { redisConnection, redisQueue } from '../../test/contract/redis-bench.ts';
import { sqliteQueue } from '../../test/contract/sqlite-bench.ts';
import { bullmqSide } from './bullmq.ts';
import { graphileSide } from './graphile.ts';
import type { Servers } from './servers.ts';
import { queueSide, type Side } from './side.ts';

const fresh = (): string => `bench-${createId(Date.now())}`;

/** Each makes a fresh queue of its kind. A setting is the broker's or, where it syncs by itself, the queue's. */
export const sides: Readonly<Record<string, (servers: Servers, setting: string | undefined) => Promise<Side>>> = {
  memory: async () => {
    const queue = new MemoryQueue(memoryConfig.parse({ allowVolatile: true }), systemClock);
    await queue.start();
    return queueSide(queue, async () => {});
  },
  sqlite: async ({ folder }) => {
    const queue = sqliteQueue(join(folder, `${fresh()}.sqlite`), systemClock);
    await queue.start();
    return queueSide(queue, async () => {});
  },
  redis: async (servers, setting = 'everysec') => {
    const connection = redisConnection(await servers.url('redis', [`appendfsync ${setting}`]));
    await connection.start();
    const queue = redisQueue(connection, { name: fresh() });
    await queue.start();
    return queueSide(queue, () => connection.stop());
  },
  jetstream: async (servers) => {
    const connection = await dialNats(await servers.url('nats'));
    const queue = jetstreamQueue(connection, fresh());
    await queue.start();
    return queueSide(queue, () => connection.stop(1000));
  },
  amqp: async (servers) => {
    const connection = await dialAmqp(await servers.url('amqp'));
    const queue = amqpQueue(connection, fresh());
    await queue.start();
    return queueSide(queue, () => connection.stop(1000));
  },
  kafka: async (servers, setting) => {
    const connection = await dialKafka(await servers.url('kafka'));
    const queue = kafkaQueue(connection, fresh(), { sync: setting === 'sync' });
    await queue.start();
    return queueSide(queue, () => connection.stop());
  },
  graphile: async (servers, setting) => graphileSide(await servers.postgres(), setting),
  bullmq: async (servers, setting = 'everysec') =>
    bullmqSide(await servers.url('redis', [`appendfsync ${setting}`]), setting === 'always' ? 'disk' : 'page-cache'),
};
