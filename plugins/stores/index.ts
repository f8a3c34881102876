import type { LazyPlugins } from '../../core/host/registry.ts';

/** One line a kind. The word in the YAML is the key. */
export const stores: LazyPlugins = {
  memory: () => import('./memory/index.ts'),
  redis: () => import('./redis/index.ts'),
  'nats-kv': () => import('./nats-kv/index.ts'),
  sqlite: () => import('./sqlite/index.ts'),
};
