import { randomUUID } from 'node:crypto';
import { systemClock } from '../../core/contracts/clock.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import { redisConnectionConfig } from '../../plugins/connections/redis/index.ts';
import { redisQueueConfig } from '../../plugins/queues/redis/index.ts';
import { RedisQueue, type RedisQueueSeams } from '../../plugins/queues/redis/queue.ts';
import { quietHost } from '../support/quiet-host.ts';

/** A connection to that server, not started yet. */
export function redisConnection(url: string, settings: object = {}): RedisConnection {
  return new RedisConnection(redisConnectionConfig.parse({ url, ...settings }), quietHost(systemClock));
}

/** A queue of that name over a started connection, not started yet. */
export function redisQueue(
  connection: RedisConnection,
  settings: QueueSettings & { readonly name: string; readonly allowVolatile?: boolean },
  seams: RedisQueueSeams = {},
): RedisQueue {
  const { name, allowVolatile } = settings;
  const config = redisQueueConfig.parse({ name, allowVolatile });
  return new RedisQueue(
    {
      ...config,
      aging: { step: settings.agingStepMs ?? config.aging.step },
      limits: {
        messages: settings.maxMessages ?? config.limits.messages,
        bytes: settings.maxBytes ?? config.limits.bytes,
      },
      laneLimits: { messages: settings.maxLaneMessages },
    },
    quietHost(systemClock, '/', connection),
    seams,
  );
}

/** A started queue of its own in a Redis that many use, on the server's time or on a clock moved by hand. */
export async function redisBench(
  connection: RedisConnection,
  settings: QueueSettings,
  { manual, faults }: Pick<RedisQueueSeams, 'faults'> & { readonly manual: boolean },
): Promise<QueueBench> {
  const name = randomUUID();
  const clock = manual ? manualClock() : undefined;
  const open = async (): Promise<RedisQueue> => {
    const opened = redisQueue(connection, { ...settings, name }, { faults, now: clock && (() => clock.now()) });
    await opened.start();
    return opened;
  };
  let queue = await open();
  return {
    queue,
    shared: true,
    ...(clock && { advance: (ms: number) => clock.advance(ms) }),
    // Nothing of a lease is settled when it stops, so what the next one finds is what a dead process would leave. That
    // a killed one leaves no less is shown with a real process, in test/unit/redis-queue.test.ts.
    reopen: async () => {
      await queue.stop(5000);
      queue = await open();
      return queue;
    },
    dispose: () => queue.stop(5000),
  };
}
