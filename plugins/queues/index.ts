import type { LazyPlugins } from '../../core/host/registry.ts';

/** One line a kind. The word in the YAML is the key. */
export const queues: LazyPlugins = {
  amqp: () => import('./amqp/index.ts'),
  jetstream: () => import('./jetstream/index.ts'),
  kafka: () => import('./kafka/index.ts'),
  memory: () => import('./memory/index.ts'),
  redis: () => import('./redis/index.ts'),
  sqlite: () => import('./sqlite/index.ts'),
};
