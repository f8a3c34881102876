import { z } from 'zod';
import { connectionName } from '../../../core/config/units.ts';
import { defineQueue } from '../../../core/contracts/definition.ts';
import { ledgerConfig, ledgerSettings } from '../../../core/ledger/config.ts';
import { LedgerQueue } from '../../../core/ledger/queue.ts';
import type { KafkaConnection } from '../../connections/kafka/connection.ts';
import { KafkaJournals } from './journals.ts';

export const kafkaQueueConfig = z.strictObject({
  connection: connectionName,
  topics: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,200}$/, 'expected letters, digits, ".", "_" and "-", at most 200')
    .optional()
    .describe('What the names of its three topics begin with; by default `millrace.` and the name of the queue.'),
  replicas: z
    .int()
    .min(1)
    .max(9)
    .optional()
    .describe(
      'Brokers that keep each topic; by default what the broker gives to a new topic. 3 survive the loss of one.',
    ),
  minInsync: z
    .int()
    .min(1)
    .max(9)
    .optional()
    .describe(
      'How many of them must have an entry before it is acknowledged; by default 2 where there are 3 or more, else what the broker says.',
    ),
  sync: z
    .boolean()
    .default(false)
    .describe(
      'The brokers sync each entry to their disks before it is acknowledged (`flush.messages=1`); without, a loss of power takes what they had not written yet.',
    ),
  ...ledgerConfig,
});

export default defineQueue({
  kind: 'kafka',
  summary: 'Topics of Apache Kafka, shared by several gateways; as durable as the topics are.',
  config: kafkaQueueConfig,
  connection: 'kafka',
  examples: [{}, { connection: 'main', replicas: 3, minInsync: 2, limits: { messages: 200_000 } }],
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
  create: (config, host) =>
    new LedgerQueue(new KafkaJournals(config, host, host.connection<KafkaConnection>()), {
      host,
      instance: config.instance,
      settings: ledgerSettings(config),
    }),
});
