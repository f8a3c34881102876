import { z } from 'zod';
import { connectionName } from '../../../core/config/units.ts';
import { defineQueue } from '../../../core/contracts/definition.ts';
import { ledgerConfig, ledgerSettings } from '../../../core/ledger/config.ts';
import { LedgerQueue } from '../../../core/ledger/queue.ts';
import type { NatsConnection } from '../../connections/nats/connection.ts';
import { JetstreamJournals } from './journals.ts';

export const jetstreamConfig = z.strictObject({
  connection: connectionName,
  streams: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,100}$/, 'expected letters, digits, "-" and "_", at most 100')
    .optional()
    .describe('What the names of its three streams begin with; by default `millrace-` and the name of the queue.'),
  replicas: z
    .int()
    .min(1)
    .max(5)
    .default(1)
    .describe('Servers of the cluster that keep each stream; 3 survive the loss of one.'),
  storage: z
    .enum(['file', 'memory'])
    .default('file')
    .describe('Where the streams are kept; memory needs `allowVolatile`.'),
  allowVolatile: z.boolean().default(false).describe('Start on streams in memory, which end with their servers.'),
  monitor: z
    .array(z.url())
    .default([])
    .describe(
      'Monitoring addresses of all servers (`http://HOST:8222`). With them it can be told whether they sync each write; without, they are not taken to.',
    ),
  ...ledgerConfig,
});

export default defineQueue({
  kind: 'jetstream',
  summary: 'Streams of NATS JetStream, shared by several gateways; as durable as the streams are.',
  config: jetstreamConfig,
  connection: 'nats',
  examples: [{}, { connection: 'main', replicas: 3, limits: { messages: 200_000 } }],
  capabilities: {
    fencedSettle: 'emulated',
    delay: 'emulated',
    priority: 'emulated',
    order: 'emulated',
    dedup: 'emulated',
    deadLetters: 'emulated',
    results: 'emulated',
    pause: 'emulated',
    cancel: 'emulated',
    durable: 'native',
  },
  create: (config, host) => {
    const journals = new JetstreamJournals(config, host, host.connection<NatsConnection>());
    return new LedgerQueue(journals, {
      host,
      instance: config.instance,
      settings: ledgerSettings(config),
    });
  },
});
