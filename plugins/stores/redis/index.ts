import { z } from 'zod';
import { connectionName } from '../../../core/config/units.ts';
import { defineStore } from '../../../core/contracts/definition.ts';
import { RedisStore } from './store.ts';

export const redisStoreConfig = z.strictObject({
  connection: connectionName,
  name: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,100}$/, 'expected letters, digits and "_.-"')
    .optional()
    .describe(
      'What the store is called in Redis: gateways whose stores have the same name there share the records. ' +
        'Without it, the name of the store here.',
    ),
  allowVolatile: z
    .boolean()
    .default(false)
    .describe('Take a Redis without append-only file, or one that evicts: records may then be lost.'),
  durability: z
    .enum(['disk', 'page-cache'])
    .optional()
    .describe(
      'For a Redis that does not let its settings be read: `disk` if appendfsync is `always`, else `page-cache`.',
    ),
});

export default defineStore({
  kind: 'redis',
  connection: 'redis',
  summary: 'Redis with append-only file; shared by any number of gateways.',
  config: redisStoreConfig,
  examples: [{}, { connection: 'main', name: 'orders' }],
  create: (config, host) => new RedisStore(config, host),
});
