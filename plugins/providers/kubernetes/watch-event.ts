import type { KubeObject } from './kinds.ts';
import { KubeError } from './kube-error.ts';

export interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T | { readonly code?: number };
}

/**
 * A line of a watch. What stands between us and the API server may put anything there.
 *
 * @throws KubeError when it is none: the watch is begun anew.
 */
export function watchEventOf<T extends KubeObject>(line: unknown): WatchEvent<T> {
  const { type, object } = (line ?? {}) as Partial<WatchEvent<T>>;
  const { name, resourceVersion } = (object as Partial<T> | null | undefined)?.metadata ?? {};
  const isNamed = typeof name === 'string' || type === 'BOOKMARK';
  const isEvent = typeof type === 'string' && (type === 'ERROR' || (isNamed && typeof resourceVersion === 'string'));
  if (!isEvent) throw new KubeError('what came in a watch is no event', { status: 0, reason: 'Unreachable' });
  return line as WatchEvent<T>;
}
