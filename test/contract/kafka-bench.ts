import { systemClock } from '../../core/contracts/clock.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import { Kafka } from '../../plugins/connections/kafka/connection.ts';
import { kafkaConfig } from '../../plugins/connections/kafka/index.ts';
import kafkaQueue, { kafkaQueueConfig } from '../../plugins/queues/kafka/index.ts';
import { quietHost } from '../support/quiet-host.ts';

let count = 0;

/** Names of topics that no other test uses. */
export function newTopics(): string {
  return `test.${process.pid}.${Date.now()}.${++count}`;
}

export async function dial(url: string, settings: Record<string, unknown> = {}): Promise<Kafka> {
  const kafka = new Kafka(kafkaConfig.parse({ brokers: url, ...settings }), quietHost(systemClock));
  await kafka.start();
  return kafka;
}

/** A queue on those topics, not started yet. */
export function queueOn(kafka: Kafka, topics: string, settings: Record<string, unknown> = {}): Queue {
  const config = kafkaQueueConfig.parse({ topics, ...settings });
  return kafkaQueue.create(config, quietHost(systemClock, '/', kafka));
}

/** A started queue on topics of its own, in real time, each gateway over a connection of its own. */
export async function kafkaBench(url: string, settings: QueueSettings = {}): Promise<QueueBench> {
  const topics = newTopics();
  const config = {
    instance: 'one',
    aging: { step: `${settings.agingStepMs ?? 30_000}ms` },
    limits: { messages: settings.maxMessages ?? 100_000, bytes: `${settings.maxBytes ?? 2 ** 28}B` },
    laneLimits: { messages: settings.maxLaneMessages },
  };
  const opened: { readonly kafka: Kafka; readonly queue: Queue }[] = [];
  const open = async (): Promise<Queue> => {
    const kafka = await dial(url);
    const queue = queueOn(kafka, topics, config);
    opened.push({ kafka, queue });
    await queue.start();
    return queue;
  };
  return {
    queue: await open(),
    reopen: open,
    dispose: async () => {
      const [first] = opened;
      for (const { queue } of opened) await queue.stop(2000);
      for (const name of ['commands', 'bodies', 'snapshots']) {
        await first?.kafka.driver.deleteTopic(`${topics}.${name}`);
      }
      for (const { kafka } of opened) await kafka.stop();
    },
  };
}
