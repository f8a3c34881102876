import type { z } from 'zod';
import type { QueueHost } from '../../../core/contracts/definition.ts';
import type { Durability } from '../../../core/contracts/invocation.ts';
import type { JournalSet } from '../../../core/contracts/journal.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';
import { Catalog } from './catalog.ts';
import type { amqpConfig } from './index.ts';
import { AmqpJournal } from './journal.ts';

const mebibyte = 2 ** 20;
/** Small enough that little is kept for long that is not needed, large enough that streams are made and deleted rarely. */
const segmentBytes = { commands: 64 * mebibyte, bodies: 128 * mebibyte, snapshots: 64 * mebibyte } as const;

/** The streams of a queue. */
export class AmqpJournals implements JournalSet {
  readonly commands: AmqpJournal;
  readonly bodies: AmqpJournal;
  readonly snapshots: AmqpJournal;
  readonly #catalog: Catalog;

  constructor(config: z.output<typeof amqpConfig>, host: QueueHost, amqp: AmqpConnection) {
    const prefix = config.streams ?? `millrace-${host.name}`;
    const catalog = new Catalog(amqp, `${prefix}-catalog`);
    const journal = (name: keyof typeof segmentBytes, caches: boolean): AmqpJournal =>
      new AmqpJournal({
        amqp,
        catalog,
        name,
        prefix,
        logger: host.logger,
        segmentBytes: segmentBytes[name],
        caches,
      });
    this.#catalog = catalog;
    this.commands = journal('commands', false);
    this.bodies = journal('bodies', true);
    this.snapshots = journal('snapshots', false);
  }

  async open(signal: AbortSignal): Promise<Durability> {
    const abort = (): void => void this.close();
    signal.addEventListener('abort', abort, { once: true });
    await this.#catalog.open();
    await Promise.all([this.commands.open(), this.bodies.open(), this.snapshots.open()]);
    // RabbitMQ writes streams without fsync, and does not tell over AMQP how many nodes keep them.
    return 'page-cache';
  }

  async close(): Promise<void> {
    await Promise.all([this.commands.close(), this.bodies.close(), this.snapshots.close()]);
  }
}
