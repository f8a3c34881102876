import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll } from 'vitest';
import { journalContract } from '../../core/testing/journal-contract.ts';
import type { Amqp } from '../../plugins/connections/amqp/connection.ts';
import { Catalog } from '../../plugins/queues/amqp/catalog.ts';
import { AmqpJournal } from '../../plugins/queues/amqp/journal.ts';
import type { OwnBroker } from '../support/brokers.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { dial, startSettled } from './amqp-bench.ts';

await describeWithOwnBroker('amqp', 'on RabbitMQ', () => {
  let server: OwnBroker;
  beforeAll(async () => {
    server = await startSettled();
  }, 100_000);
  afterAll(() => server.dispose());

  // The second one goes on to another stream after every few entries.
  for (const [name, segmentBytes] of [
    ['journal amqp', 2 ** 26],
    ['journal amqp of many streams', 100],
  ] as const) {
    journalContract({
      name,
      trims: false,
      create: async () => {
        const prefix = `journal-${randomUUID()}`;
        const opened: { readonly amqp: Amqp; readonly journal: AmqpJournal }[] = [];
        const open = async (): Promise<AmqpJournal> => {
          const amqp = await dial(server.url);
          const catalog = new Catalog(amqp, `${prefix}-catalog`);
          await catalog.open();
          const logger = pino({ level: 'silent' });
          const journal = new AmqpJournal({ amqp, catalog, name: 'j', prefix, logger, segmentBytes, caches: false });
          opened.push({ amqp, journal });
          await journal.open();
          return journal;
        };
        return {
          journal: await open(),
          another: open,
          away: async () => {
            await server.kill();
            return () => server.restart();
          },
          dispose: async () => {
            for (const { journal, amqp } of opened) {
              await journal.close();
              await amqp.stop(1000);
            }
          },
        };
      },
    });
  }
});
