import { resolve } from 'node:path';
import { z } from 'zod';
import { bytes, duration } from '../../../core/config/units.ts';
import { defineQueue } from '../../../core/contracts/definition.ts';
import { SqliteQueue } from './queue.ts';

export const sqliteConfig = z.strictObject({
  path: z
    .string()
    .min(1)
    .default('data/queue.sqlite')
    .describe('The file; a relative path is meant from the folder of the configuration. Its folder is made.'),
  aging: z
    .strictObject({ step: duration('30s').describe('Waiting this long is worth one class of priority.') })
    .prefault({})
    .describe('Keeps low priorities from starving.'),
  limits: z
    .strictObject({
      messages: z.int().min(1).default(10_000_000).describe('Waiting messages, over all functions.'),
      bytes: bytes('10GiB').describe('Bytes of their bodies.'),
      freeDisk: bytes('64MiB').describe(
        'What is to stay free on its disk, so that what is there can be settled. With less nothing is accepted: 507.',
      ),
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
  kind: 'sqlite',
  summary: 'One file on this machine; survives kill -9 and power loss. One process at a time.',
  config: sqliteConfig,
  examples: [{}, { path: '/var/lib/millrace/queue.sqlite', limits: { messages: 1_000_000, bytes: '2GiB' } }],
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
  create: (config, host) => new SqliteQueue({ ...config, path: resolve(host.baseFolder, config.path) }, host),
});
