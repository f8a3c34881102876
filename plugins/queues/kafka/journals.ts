import type { z } from 'zod';
import type { QueueHost } from '../../../core/contracts/definition.ts';
import type { Durability } from '../../../core/contracts/invocation.ts';
import type { JournalSet } from '../../../core/contracts/journal.ts';
import type { KafkaConnection } from '../../connections/kafka/connection.ts';
import type { TopicFacts } from '../../connections/kafka/driver.ts';
import type { kafkaQueueConfig } from './index.ts';
import { KafkaJournal } from './journal.ts';
import { declareTopic, durabilityOf, minInsyncOf } from './topic.ts';

/** The three topics of a queue. */
export class KafkaJournals implements JournalSet {
  readonly commands: KafkaJournal;
  readonly bodies: KafkaJournal;
  readonly snapshots: KafkaJournal;
  readonly #config: z.output<typeof kafkaQueueConfig>;
  readonly #host: QueueHost;
  readonly #kafka: KafkaConnection;

  constructor(config: z.output<typeof kafkaQueueConfig>, host: QueueHost, kafka: KafkaConnection) {
    this.#config = config;
    this.#host = host;
    this.#kafka = kafka;
    const prefix = config.topics ?? `millrace.${host.name}`;
    const journal = (name: string): KafkaJournal => new KafkaJournal(kafka, `${prefix}.${name}`, host.logger);
    this.commands = journal('commands');
    this.bodies = journal('bodies');
    this.snapshots = journal('snapshots');
  }

  async open(signal: AbortSignal): Promise<Durability> {
    const { replicas, minInsync, sync } = this.#config;
    const all: TopicFacts[] = [];
    for (const journal of [this.commands, this.bodies, this.snapshots]) {
      const { topic } = journal;
      const facts = await declareTopic(this.#kafka.driver, { topic, replicas, minInsync, sync });
      signal.throwIfAborted();
      journal.open(facts);
      all.push(facts);
      if (facts.replicas > 1 && minInsyncOf(facts) < 2) {
        const note = 'entries are acknowledged when one replica has them: set min.insync.replicas of the topic to 2';
        this.#host.logger.warn({ topic, replicas: facts.replicas }, note);
      }
    }
    return durabilityOf(all);
  }

  async close(): Promise<void> {
    for (const journal of [this.commands, this.bodies, this.snapshots]) journal.close();
  }
}
