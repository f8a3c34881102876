import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll } from 'vitest';
import { journalContract } from '../../core/testing/journal-contract.ts';
import type { Nats } from '../../plugins/connections/nats/connection.ts';
import { JetstreamJournal } from '../../plugins/queues/jetstream/journal.ts';
import { streamOf } from '../../plugins/queues/jetstream/journals.ts';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { dial } from './jetstream-bench.ts';

await describeWithOwnBroker('nats', 'on a NATS server', () => {
  let server: OwnBroker;
  beforeAll(async () => {
    server = await startBroker('nats');
  });
  afterAll(() => server.dispose());

  journalContract({
    name: 'journal jetstream',
    trims: true,
    create: async () => {
      const name = `journal-${randomUUID()}`;
      const dialled: Nats[] = [];
      const open = async (): Promise<JetstreamJournal> => {
        const nats = await dial(server.url);
        dialled.push(nats);
        const subject = `${name}.entries`;
        await nats.declareStream(streamOf(name, subject, '', { storage: 'file', replicas: 1 }));
        return new JetstreamJournal(nats, name, subject, pino({ level: 'silent' }));
      };
      return {
        journal: await open(),
        another: open,
        away: async () => {
          await server.kill();
          return () => server.restart();
        },
        dispose: async () => {
          for (const nats of dialled) await nats.stop(1000);
        },
      };
    },
  });
});
