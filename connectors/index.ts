import type { LazyPlugins } from '../core/host/registry.ts';

/** One line a kind. The word in the YAML is the key. */
export const connectors: LazyPlugins = {
  amqp: () => import('./amqp/index.ts'),
  cron: () => import('./cron/index.ts'),
  http: () => import('./http/index.ts'),
  jetstream: () => import('./jetstream/index.ts'),
  kafka: () => import('./kafka/index.ts'),
  mqtt: () => import('./mqtt/index.ts'),
  nats: () => import('./nats/index.ts'),
  redis: () => import('./redis/index.ts'),
};
