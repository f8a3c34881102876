import { systemClock } from '../../core/contracts/clock.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import { natsConfig } from '../../plugins/connections/nats/index.ts';
import { Nats } from '../../plugins/connections/nats/connection.ts';
import jetstream, { jetstreamConfig } from '../../plugins/queues/jetstream/index.ts';
import { quietHost } from '../support/quiet-host.ts';

let count = 0;

export async function dial(url: string, settings: Record<string, unknown> = {}): Promise<Nats> {
  const nats = new Nats(natsConfig.parse({ servers: url, ...settings }), quietHost(systemClock));
  await nats.start();
  return nats;
}

/** A queue on those streams, not started yet. */
export function jetstreamQueue(nats: Nats, streams: string, settings: Record<string, unknown> = {}): Queue {
  const config = jetstreamConfig.parse({ streams, ...settings });
  return jetstream.create(config, quietHost(systemClock, '/', nats));
}

/** A started queue on streams of its own, in real time, each gateway over a connection of its own. */
export async function jetstreamBench(url: string, settings: QueueSettings = {}): Promise<QueueBench> {
  const streams = `bench-${process.pid}-${++count}`;
  const config = {
    instance: 'one',
    aging: { step: `${settings.agingStepMs ?? 30_000}ms` },
    limits: { messages: settings.maxMessages ?? 100_000, bytes: `${settings.maxBytes ?? 2 ** 28}B` },
    laneLimits: { messages: settings.maxLaneMessages },
  };
  const opened: { readonly nats: Nats; readonly queue: Queue }[] = [];
  const open = async (): Promise<Queue> => {
    const nats = await dial(url);
    const queue = jetstreamQueue(nats, streams, config);
    opened.push({ nats, queue });
    await queue.start();
    return queue;
  };
  return {
    queue: await open(),
    reopen: open,
    dispose: async () => {
      const [first] = opened;
      for (const { queue } of opened) await queue.stop(2000);
      const manager = await first?.nats.client.jetstreamManager();
      for (const name of ['commands', 'bodies', 'snapshots']) await manager?.streams.delete(`${streams}-${name}`);
      for (const { nats } of opened) await nats.stop(1000);
    },
  };
}
