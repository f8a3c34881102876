import { z } from 'zod';
import { bytes, duration } from '../../../core/config/units.ts';
import { defineQueue } from '../../../core/contracts/definition.ts';
import { MemoryQueue } from './queue.ts';

export const memoryConfig = z.strictObject({
  allowVolatile: z
    .boolean()
    .default(false)
    .describe('Must be true: everything that is queued is lost when the process ends.'),
  aging: z
    .strictObject({ step: duration('30s').describe('Waiting this long is worth one class of priority.') })
    .prefault({})
    .describe('Keeps low priorities from starving.'),
  limits: z
    .strictObject({
      messages: z.int().min(1).default(100_000).describe('Waiting messages, over all functions.'),
      bytes: bytes('256MiB').describe('Bytes of their bodies.'),
    })
    .prefault({})
    .describe('What is more than this is refused with 429, never dropped.'),
  remember: z
    .strictObject({
      invocations: z.int().min(1).default(100_000).describe('Ended invocations.'),
      bytes: bytes('256MiB').describe('Bytes of their results.'),
    })
    .prefault({})
    .describe('What is more than this is forgotten before its time, the oldest first: the memory of a process ends.'),
  laneLimits: z
    .strictObject({ messages: z.int().min(1).optional().describe('Waiting messages of one function.') })
    .prefault({})
    .describe('So that one function cannot fill the queue.'),
});

export default defineQueue({
  kind: 'memory',
  summary: 'In the memory of the process: fast, and gone with it. The reference for every other queue.',
  config: memoryConfig,
  examples: [{ allowVolatile: true }],
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
    durable: 'none',
  },
  create: (config, host) => new MemoryQueue(config, host.clock),
});
