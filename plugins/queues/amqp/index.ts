import { z } from 'zod';
import { bytes, connectionName, duration } from '../../../core/config/units.ts';
import { defineQueue } from '../../../core/contracts/definition.ts';
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
  instance: z
    .string()
    .min(1)
    .optional()
    .describe(
      'A name of this gateway alone, such as the name of its pod in a StatefulSet: after a crash it takes over at once what it had leased, instead of after 15 s.',
    ),
  aging: z
    .strictObject({ step: duration('30s').describe('Waiting this long is worth one class of priority.') })
    .prefault({})
    .describe('Keeps low priorities from starving.'),
  limits: z
    .strictObject({
      messages: z
        .int()
        .min(1)
        .default(1_000_000)
        .describe('Waiting messages, over all functions. Each gateway keeps about 1 KiB of each in memory.'),
      bytes: bytes('10GiB').describe('Bytes of their bodies.'),
    })
    .prefault({})
    .describe('What is more than this is refused with 429, never dropped.'),
  laneLimits: z
    .strictObject({ messages: z.int().min(1).optional().describe('Waiting messages of one function.') })
    .prefault({})
    .describe('So that one function cannot fill the queue.'),
  deadLetter: z
    .strictObject({ retention: duration('14d').describe('How long a dead letter is kept.') })
    .prefault({})
    .describe('What will not be tried again by itself.'),
  tombstones: duration('1h').describe('How long it is remembered that there was an invocation whose result is gone.'),
});

export default defineQueue({
  kind: 'amqp',
  summary: 'Stream queues of RabbitMQ 3.9 or later, shared by several gateways; replicated as the cluster does it, not synced to disk.',
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
      settings: {
        agingStepMs: config.aging.step,
        maxMessages: config.limits.messages,
        maxBytes: config.limits.bytes,
        maxLaneMessages: config.laneLimits.messages,
        retentionMs: config.deadLetter.retention,
        tombstonesMs: config.tombstones,
      },
    });
  },
});
