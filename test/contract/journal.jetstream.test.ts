import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll } from 'vitest';
import { journalContract } from '../../core/testing/journal-contract.ts';
import type { Nats } from '../../plugins/connections/nats/connection.ts';
import { JetstreamJournal } from '../../plugins/queues/jetstream/journal.ts';
import { streamOf } from '../../plugins/queues/jetstream/journals.ts';
import { NatsServer } from '../support/nats-server.ts';
import { dial } from './jetstream-bench.ts';

let server: NatsServer;
beforeAll(async () => {
  server = await NatsServer.start();
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
        await server.down('SIGKILL');
        return () => server.up();
      },
      dispose: async () => {
        for (const nats of dialled) await nats.stop(1000);
      },
    };
  },
});
