import { DiscardPolicy, RetentionPolicy, StorageType } from 'nats';
import type { z } from 'zod';
import type { QueueHost } from '../../../core/contracts/definition.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Durability } from '../../../core/contracts/invocation.ts';
import type { JournalSet } from '../../../core/contracts/journal.ts';
import type { NatsConnection } from '../../connections/nats/connection.ts';
import type { StreamWish } from '../../connections/nats/streams.ts';
import type { jetstreamConfig } from './index.ts';
import { JetstreamJournal } from './journal.ts';
import { syncsAlways } from './sync.ts';

const descriptions = {
  commands: 'Millrace: what was asked of the queue',
  bodies: 'Millrace: envelopes, bodies and results',
  snapshots: 'Millrace: the state of the queue',
} as const;

/** The three streams of a queue. */
export class JetstreamJournals implements JournalSet {
  readonly commands: JetstreamJournal;
  readonly bodies: JetstreamJournal;
  readonly snapshots: JetstreamJournal;
  readonly #config: z.output<typeof jetstreamConfig>;
  readonly #host: QueueHost;
  readonly #nats: NatsConnection;

  constructor(config: z.output<typeof jetstreamConfig>, host: QueueHost, nats: NatsConnection) {
    this.#config = config;
    this.#host = host;
    this.#nats = nats;
    const prefix = config.streams ?? `millrace-${host.name}`;
    const journal = (name: keyof typeof descriptions): JetstreamJournal =>
      new JetstreamJournal(nats, `${prefix}-${name}`, `${prefix}.${name}`, host.logger);
    this.commands = journal('commands');
    this.bodies = journal('bodies');
    this.snapshots = journal('snapshots');
  }

  async open(signal: AbortSignal): Promise<Durability> {
    const { storage, replicas, allowVolatile } = this.#config;
    if (storage === 'memory' && !allowVolatile) {
      throw new MillraceError(
        'config.invalid',
        'streams with storage: memory end with their servers: set storage: file, or allowVolatile: true',
      );
    }
    if (!this.#nats.isAtLeast(2, 9)) {
      const { version } = this.#nats.client.info ?? {};
      throw new MillraceError('config.invalid', `the NATS server is ${version}: a queue needs 2.9 or later`);
    }
    for (const [name, description] of Object.entries(descriptions) as [keyof typeof descriptions, string][]) {
      const { stream, subject } = this[name];
      await this.#nats.declareStream(streamOf(stream, subject, description, this.#config));
      signal.throwIfAborted();
    }
    if (storage === 'memory') return 'memory';
    if (replicas >= 3) return 'replicated';
    return (await syncsAlways(this.#config.monitor, this.#host.logger)) ? 'disk' : 'page-cache';
  }

  async close(): Promise<void> {
    // Whoever follows ends by the signal that was given with it; nothing else is held.
  }
}

/** Anything else that these might be set to would lose what was accepted; `max_bytes` may be set, which only refuses. */
export function streamOf(
  name: string,
  subject: string,
  description: string,
  { storage, replicas }: Pick<z.output<typeof jetstreamConfig>, 'storage' | 'replicas'>,
): StreamWish {
  return {
    name,
    subjects: [subject],
    description,
    storage: storage === 'file' ? StorageType.File : StorageType.Memory,
    num_replicas: replicas,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    max_age: 0,
    max_msgs: -1,
    max_msgs_per_subject: -1,
    max_msg_size: -1,
    allow_direct: true,
  };
}
