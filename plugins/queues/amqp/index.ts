import { z } from 'zod';
import { connectionName } from '../../../core/config/units.ts';
import { defineQueue } from '../../../core/contracts/definition.ts';
import { ledgerConfig, ledgerSettings } from '../../../core/ledger/config.ts';
import { LedgerQueue } from '../../../core/ledger/queue.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';
import { AmqpJournals } from './journals.ts';

export const amqpConfig = z.strictObject({
  connection: connectionName,
  streams: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,100}$/, 'expected letters, digits, "-" and "_", at most 100')
    .optional()
    .describe('What the names of its streams begin with; by default `millrace-` and the name of the queue.'),
  ...ledgerConfig,
});

export default defineQueue({
  kind: 'amqp',
  summary:
    'Stream queues of RabbitMQ 3.9 or later, shared by several gateways; replicated as the cluster does it, not synced to disk.',
  config: amqpConfig,
  connection: 'amqp',
  examples: [{}, { connection: 'main', limits: { messages: 200_000 } }],
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
    const journals = new AmqpJournals(config, host, host.connection<AmqpConnection>());
    return new LedgerQueue(journals, {
      host,
      instance: config.instance,
      settings: ledgerSettings(config),
    });
  },
});
