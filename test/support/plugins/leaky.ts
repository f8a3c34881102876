import { z } from 'zod';
import { secret } from '../../../core/config/units.ts';
import { defineConnection } from '../../../core/contracts/definition.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';

/** A connection whose client library puts what it was given into whatever it says. */
export default defineConnection({
  kind: 'leaky',
  summary: 'Tells its password. For tests.',
  config: z.strictObject({
    password: secret().describe('What must not be told.'),
    key: secret().optional().describe('A key of several lines.'),
    refused: z.boolean().default(false).describe('Whether its start fails.'),
  }),
  examples: [{ password: 'x' }],
  create: ({ password, key = '', refused }, { logger }) => {
    const words = `cannot log in to leaky://user:${encodeURIComponent(password)}@broker as user:${password} with ${key}`;
    return {
      start: async () => {
        logger.warn({ password, key, err: new Error(words) }, words);
        if (refused) throw new MillraceError('connection.unavailable', words);
        setTimeout(() => {
          throw new Error(words); // Its own fault: it is marked failed.
        }, 0);
      },
      health: () => ({ state: 'reconnecting', reconnects: 1, lastError: words }),
      stop: async () => undefined,
    };
  },
});
