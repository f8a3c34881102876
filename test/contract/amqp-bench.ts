import { sleep, systemClock } from '../../core/contracts/clock.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import { ledgerSettings } from '../../core/ledger/config.ts';
import type { LedgerFaults } from '../../core/ledger/messages.ts';
import { LedgerQueue } from '../../core/ledger/queue.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import { Amqp } from '../../plugins/connections/amqp/connection.ts';
import { amqpConnectionConfig } from '../../plugins/connections/amqp/index.ts';
import amqpQueue, { amqpConfig } from '../../plugins/queues/amqp/index.ts';
import { AmqpJournals } from '../../plugins/queues/amqp/journals.ts';
import { declareStream } from '../../plugins/queues/amqp/stream.ts';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { quietHost } from '../support/quiet-host.ts';

let count = 0;

export async function dial(url: string, settings: Record<string, unknown> = {}): Promise<Amqp> {
  const amqp = new Amqp(amqpConnectionConfig.parse({ url, ...settings }), quietHost(systemClock));
  await amqp.start();
  return amqp;
}

/** A queue on those streams, not started yet; with bugs in it where asked. */
export function queueOn(
  amqp: Amqp,
  streams: string,
  settings: Record<string, unknown> = {},
  faults?: LedgerFaults,
): Queue {
  const host = quietHost(systemClock, '/', amqp);
  const config = amqpConfig.parse({ streams, ...settings });
  if (!faults) return amqpQueue.create(config, host);
  const options = { host, instance: config.instance, settings: ledgerSettings(config), faults };
  return new LedgerQueue(new AmqpJournals(config, host, amqp), options);
}

/** A started queue on streams of its own, in real time, each gateway over connections of its own. */
export async function amqpBench(url: string, settings: QueueSettings = {}, faults?: LedgerFaults): Promise<QueueBench> {
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
    const queue = queueOn(amqp, streams, config, faults);
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

/**
 * Resolves when a broker that was just started may be killed. RabbitMQ 3.10 writes down that a node has streams at all
 * some time after the first one was made: killed before that, it does not find them again.
 */
export async function settle(broker: OwnBroker): Promise<void> {
  const amqp = await dial(broker.url);
  await declareStream(amqp, 'first');
  await amqp.stop(1000);
  await sleep(5000);
}

/** A broker that may be killed. */
export async function startSettled(): Promise<OwnBroker> {
  const broker = await startBroker('amqp');
  await settle(broker);
  return broker;
}

/** Removes the streams of a queue, of each journal the first so many. */
export async function removeStreams(amqp: Amqp, streams: string, generations = 1): Promise<void> {
  const channel = await amqp.channel();
  await channel.deleteQueue(`${streams}-catalog`);
  for (let generation = 0; generation < generations; generation++) {
    // One that is not there is no error.
    for (const journal of ['commands', 'bodies', 'snapshots']) {
      await channel.deleteQueue(`${streams}-${journal}.${generation}`);
    }
  }
  await channel.close();
}
