import type { LazyPlugins } from '../../core/host/registry.ts';

/** One line a kind. The word in the YAML is the key. */
export const connections: LazyPlugins = {
  amqp: () => import('./amqp/index.ts'),
  kafka: () => import('./kafka/index.ts'),
  mqtt: () => import('./mqtt/index.ts'),
  nats: () => import('./nats/index.ts'),
  redis: () => import('./redis/index.ts'),
};
