import { z } from 'zod';
import { bytes, timeLimit } from './units.ts';

/** What holds for those who call over HTTP. */
export const callerLimits = z
  .strictObject({
    connections: z.int().min(1).max(1_000_000).default(10_000).describe('Open at once; one more is answered 503.'),
    connectionsPerAddress: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(5000)
      .describe('Open at once of one address; one more is answered 429. A load balancer is one address.'),
    headers: z.int().min(16).max(2000).default(100).describe('Headers of one request; more are answered 431.'),
    headerBytes: bytes('16KiB')
      .refine((size) => size >= 1024 && size <= 2 ** 20, 'expected between 1KiB and 1MiB')
      .describe('The first line of a request and its headers.'),
    headerTime: timeLimit('10s').describe('How long these may take to come; then it is answered 408.'),
    idle: timeLimit('15s').describe(
      'A body that stops coming for so long ends its connection; so does an answer that is not taken.',
    ),
    bodyTime: timeLimit('60s').describe(
      'How long a body may take to come, and an answer to be taken, with a second more for each KiB of it.',
    ),
    turn: timeLimit('1s').describe(
      'When the gateway has been at calls for so long without a pause, those that wait behind them are answered 503.',
    ),
  })
  .prefault({})
  .describe('Connections of callers. What is slower than this is ended.');

export type CallerLimits = z.output<typeof callerLimits>;
