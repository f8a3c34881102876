import { z } from 'zod';
import { bytes, duration } from '../../../core/config/units.ts';
import { defineQueue } from '../../../core/contracts/definition.ts';
import { SqliteQueue } from './queue.ts';

export const sqliteConfig = z.strictObject({
  path: z.string().min(1).describe('The file; relative to the folder of the configuration. Made if it is not there.'),
  aging: z
    .strictObject({ step: duration('30s').describe('Waiting this long is worth one class of priority.') })
    .prefault({})
    .describe('Keeps low priorities from starving.'),
  limits: z
    .strictObject({
      messages: z.int().min(1).default(10_000_000).describe('Waiting messages, over all functions.'),
      bytes: bytes('10GiB').describe('Bytes of their bodies.'),
    })
    .prefault({})
    .describe('What is more than this is refused with 429, never dropped.'),
  laneLimits: z
    .strictObject({ messages: z.int().min(1).optional().describe('Waiting messages of one function.') })
    .prefault({})
    .describe('So that one function cannot fill the queue.'),
  deadLetter: z
    .strictObject({ retention: duration('14d').describe('Dead letters are kept for so long.') })
    .prefault({})
    .describe('What will not be tried again.'),
  tombstones: duration('1d').describe('How long it is remembered that there was a result, once it is gone.'),
});

export default defineQueue({
  kind: 'sqlite',
  summary: 'One file on this machine, nothing to install; what was accepted survives kill -9 and power cuts.',
  config: sqliteConfig,
  examples: [{ path: '../data/queue.db' }],
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
  create: (config, host) => new SqliteQueue(config, host),
});
