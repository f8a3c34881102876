import { z } from 'zod';
import { bytes, duration } from '../config/units.ts';
import type { LedgerSettings } from './records.ts';

/** The settings that every queue on a ledger has, to be spread into the plugin's own schema. */
export const ledgerConfig = {
  instance: z
    .string()
    .min(1)
    .optional()
    .describe(
      'A name of this gateway alone, such as the name of its pod in a StatefulSet: after a crash it takes over at once what it had leased, instead of after 16 s. Never give two that run the same.',
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
        .describe(
          'Waiting messages, over all functions. Each gateway keeps about 600 bytes of each in memory, and its keys.',
        ),
      bytes: bytes('10GiB').describe('Bytes of their bodies.'),
      ended: z
        .int()
        .min(1)
        .default(500_000)
        .describe(
          'Invocations that have ended and are remembered, with their results; more than this are forgotten before their time, the oldest first. Each gateway keeps about 550 bytes of each in memory.',
        ),
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
};

const schema = z.object(ledgerConfig);

/** What the ledger is told of them. */
export function ledgerSettings(config: z.output<typeof schema>): LedgerSettings {
  return {
    agingStepMs: config.aging.step,
    maxMessages: config.limits.messages,
    maxBytes: config.limits.bytes,
    maxLaneMessages: config.laneLimits.messages,
    retentionMs: config.deadLetter.retention,
    tombstonesMs: config.tombstones,
    maxEnded: config.limits.ended,
  };
}
