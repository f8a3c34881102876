import { z } from 'zod';
import { connectionName } from '../../../core/config/units.ts';
import { defineStore } from '../../../core/contracts/definition.ts';
import type { NatsConnection } from '../../connections/nats/connection.ts';
import { NatsKvStore } from './store.ts';

export const natsKvConfig = z.strictObject({
  connection: connectionName,
  bucket: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,100}$/, 'expected letters, digits, "-" and "_", at most 100')
    .optional()
    .describe('The bucket; by default `millrace-` and the name of the store.'),
  replicas: z
    .int()
    .min(1)
    .max(5)
    .default(1)
    .describe('Servers of the cluster that keep it; 3 survive the loss of one.'),
});

export default defineStore({
  kind: 'nats-kv',
  summary: 'A key-value bucket of NATS JetStream, shared by several gateways.',
  config: natsKvConfig,
  connection: 'nats',
  examples: [{}, { connection: 'main', bucket: 'millrace', replicas: 3 }],
  create: (config, host) =>
    new NatsKvStore(
      { bucket: config.bucket ?? `millrace-${host.name}`, replicas: config.replicas },
      host,
      host.connection<NatsConnection>(),
    ),
});
