import { pino } from 'pino';
import { afterAll, beforeAll } from 'vitest';
import { journalContract } from '../../core/testing/journal-contract.ts';
import type { Kafka } from '../../plugins/connections/kafka/connection.ts';
import { KafkaJournal } from '../../plugins/queues/kafka/journal.ts';
import { declareTopic } from '../../plugins/queues/kafka/topic.ts';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { dial, newTopics } from './kafka-bench.ts';

await describeWithOwnBroker('kafka', 'journal kafka', () => {
  let broker: OwnBroker;
  beforeAll(async () => {
    broker = await startBroker('kafka');
  }, 120_000);
  afterAll(() => broker.dispose());

  journalContract({
    name: 'journal kafka',
    trims: true,
    create: async () => {
      const topic = newTopics();
      const opened: { readonly kafka: Kafka; readonly journal: KafkaJournal }[] = [];
      const open = async (): Promise<KafkaJournal> => {
        const kafka = await dial(broker.url);
        const journal = new KafkaJournal(kafka, topic, pino({ level: 'silent' }));
        opened.push({ kafka, journal });
        journal.open(
          await declareTopic(kafka.driver, { topic, replicas: undefined, minInsync: undefined, sync: false }),
        );
        return journal;
      };
      return {
        journal: await open(),
        another: open,
        away: async () => {
          await broker.kill();
          return () => broker.restart();
        },
        dispose: async () => {
          for (const { kafka, journal } of opened) {
            journal.close();
            await kafka.stop();
          }
        },
      };
    },
  });
});
