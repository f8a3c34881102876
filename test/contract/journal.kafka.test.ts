import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import { journalContract } from '../../core/testing/journal-contract.ts';
import { unaborted } from '../../core/testing/queue-trial.ts';
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

  it('hands out its own entries without asking for them, and none before what others wrote', async () => {
    const topic = newTopics();
    const asks = Promise.withResolvers<void>();
    const connections = [await dial(broker.url), await dial(broker.url)] as const;
    mute(connections[0], asks.promise);
    const open = async (kafka: Kafka): Promise<KafkaJournal> => {
      const journal = new KafkaJournal(kafka, topic, pino({ level: 'silent' }));
      journal.open(await declareTopic(kafka.driver, { topic, replicas: undefined, minInsync: undefined, sync: false }));
      return journal;
    };
    const [own, other] = [await open(connections[0]), await open(connections[1])];
    const entries: string[] = [];
    const entry = ({ data }: { readonly data: Uint8Array }): void => void entries.push(Buffer.from(data).toString());
    const nothing = (): void => expect.unreachable();
    await own.follow(own.origin, { entry, gap: nothing, lost: nothing }, unaborted);
    for (const text of ['a', 'b', 'c']) await own.append(Buffer.from(text));
    expect(entries).toEqual(['a', 'b', 'c']);
    await other.append(Buffer.from('d'));
    await own.append(Buffer.from('e'));
    await sleep(50);
    expect(entries).toEqual(['a', 'b', 'c']);
    asks.resolve();
    await expect.poll(() => entries, { timeout: 10_000 }).toEqual(['a', 'b', 'c', 'd', 'e']);
    await own.append(Buffer.from('f'));
    await expect.poll(() => entries, { timeout: 10_000 }).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    for (const journal of [own, other]) journal.close();
    for (const kafka of connections) await kafka.stop();
  });
});

/** Over that connection nothing is fetched before `asks` resolves. */
function mute({ driver }: Kafka, asks: Promise<void>): void {
  const open = driver.open.bind(driver);
  driver.open = (topic, index) => {
    const partition = open(topic, index);
    const fetch = partition.fetch.bind(partition);
    partition.fetch = async (...what) => {
      await asks;
      return fetch(...what);
    };
    return partition;
  };
}
