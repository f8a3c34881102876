import { systemClock } from '../../core/contracts/clock.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import { Amqp } from '../../plugins/connections/amqp/connection.ts';
import { amqpConnectionConfig } from '../../plugins/connections/amqp/index.ts';
import amqpQueue, { amqpConfig } from '../../plugins/queues/amqp/index.ts';
import { quietHost } from '../support/quiet-host.ts';

let count = 0;

export async function dial(url: string, settings: Record<string, unknown> = {}): Promise<Amqp> {
  const amqp = new Amqp(amqpConnectionConfig.parse({ url, ...settings }), quietHost(systemClock));
  await amqp.start();
  return amqp;
}

/** A queue on those streams, not started yet. */
export function queueOn(amqp: Amqp, streams: string, settings: Record<string, unknown> = {}): Queue {
  return amqpQueue.create(amqpConfig.parse({ streams, ...settings }), quietHost(systemClock, '/', amqp));
}

/** A started queue on streams of its own, in real time, each gateway over connections of its own. */
export async function amqpBench(url: string, settings: QueueSettings = {}): Promise<QueueBench> {
  const streams = `bench-${process.pid}-${++count}`;
  const config = {
    instance: 'one',
    aging: { step: `${settings.agingStepMs ?? 30_000}ms` },
    limits: { messages: settings.maxMessages ?? 100_000, bytes: `${settings.maxBytes ?? 2 ** 28}B` },
    laneLimits: { messages: settings.maxLaneMessages },
  };
  const opened: { readonly amqp: Amqp; readonly queue: Queue }[] = [];
  const open = async (): Promise<Queue> => {
    const amqp = await dial(url);
    const queue = queueOn(amqp, streams, config);
    opened.push({ amqp, queue });
    await queue.start();
    return queue;
  };
  return {
    queue: await open(),
    reopen: open,
    dispose: async () => {
      for (const { queue } of opened) await queue.stop(2000);
      const [first] = opened;
      if (first) await removeStreams(first.amqp, streams);
      for (const { amqp } of opened) await amqp.stop(1000);
    },
  };
}

/** Those of a queue that did not go on to second ones. */
export async function removeStreams(amqp: Amqp, streams: string): Promise<void> {
  const channel = await amqp.channel();
  for (const name of ['catalog', 'commands.0', 'bodies.0', 'snapshots.0'])
    await channel.deleteQueue(`${streams}-${name}`);
  await channel.close();
}
