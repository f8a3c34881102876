import type { LazyPlugins } from '../../core/host/registry.ts';

/** One line a kind. The word in the YAML is the key. */
export const providers: LazyPlugins = {
  http: () => import('./http/index.ts'),
  kubernetes: () => import('./kubernetes/index.ts'),
  process: () => import('./process/index.ts'),
  worker: () => import('./worker/index.ts'),
};
