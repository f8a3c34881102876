import { z } from 'zod';
import { bytes, connectionName, duration } from '../../../core/config/units.ts';
import { defineQueue } from '../../../core/contracts/definition.ts';
import { RedisQueue } from './queue.ts';

export const redisQueueConfig = z.strictObject({
  connection: connectionName,
  name: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,100}$/, 'expected letters, digits and "_.-"')
    .optional()
    .describe(
      'What the queue is called in Redis: gateways whose queues have the same name there share the work. ' +
        'Without it, the name of the queue here.',
    ),
  allowVolatile: z
    .boolean()
    .default(false)
    .describe('Take a Redis without append-only file, or one that evicts: what is queued may then be lost.'),
  durability: z
    .enum(['disk', 'page-cache'])
    .optional()
    .describe(
      'For a Redis that does not let its settings be read: `disk` if appendfsync is `always`, else `page-cache`.',
    ),
  aging: z
    .strictObject({ step: duration('30s').describe('Waiting this long is worth one class of priority.') })
    .prefault({})
    .describe('Keeps low priorities from starving.'),
  limits: z
    .strictObject({
      messages: z.int().min(1).default(1_000_000).describe('Waiting messages, over all functions.'),
      bytes: bytes('1GiB').describe('Bytes of their bodies. Redis keeps them in memory.'),
    })
    .prefault({})
    .describe('What is more than this is refused with 429, never dropped.'),
  laneLimits: z
    .strictObject({ messages: z.int().min(1).optional().describe('Waiting messages of one function.') })
    .prefault({})
    .describe('So that one function cannot fill the queue.'),
  deadLetter: z
    .strictObject({
      retention: duration('14d').describe('How long a dead letter is kept.'),
      maxMessages: z
        .int()
        .min(1)
        .default(100_000)
        .describe('More dead letters than this are logged as a warning; none is removed for it.'),
    })
    .prefault({})
    .describe('What will not be tried again by itself.'),
  tombstones: duration('1d').describe('How long it is remembered that there was an invocation whose result is gone.'),
});

export default defineQueue({
  kind: 'redis',
  connection: 'redis',
  summary: 'Redis with append-only file; any number of gateways share the work. As durable as appendfsync says.',
  config: redisQueueConfig,
  examples: [{}, { connection: 'main', name: 'orders', limits: { messages: 200_000, bytes: '512MiB' } }],
  capabilities: {
    fencedSettle: 'native',
    delay: 'native',
    priority: 'native',
    order: 'native',
    dedup: 'native',
    deadLetters: 'native',
    results: 'native',
    pause: 'native',
    cancel: 'native',
    durable: 'native',
  },
  create: (config, host) => new RedisQueue(config, host),
});
