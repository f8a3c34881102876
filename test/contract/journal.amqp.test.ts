import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll } from 'vitest';
import { journalContract } from '../../core/testing/journal-contract.ts';
import type { Amqp } from '../../plugins/connections/amqp/connection.ts';
import { Catalog } from '../../plugins/queues/amqp/catalog.ts';
import { AmqpJournal } from '../../plugins/queues/amqp/journal.ts';
import { RabbitmqServer } from '../support/rabbitmq-server.ts';
import { dial } from './amqp-bench.ts';

let server: RabbitmqServer;
beforeAll(async () => {
  server = await RabbitmqServer.start();
}, 60_000);
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
        const logger = pino({ level: process.env['LOG_LEVEL'] ?? 'silent' });
        const journal = new AmqpJournal({ amqp, catalog, name: 'j', prefix, logger, segmentBytes, caches: false });
        opened.push({ amqp, journal });
        await journal.open();
        return journal;
      };
      return {
        journal: await open(),
        another: open,
        away: async () => {
          await server.down('SIGKILL');
          return () => server.up();
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
