import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Collects garbage of this thread's heap now: all of it, or (`minor`) that of the young generation. */
export type CollectGarbage = (options?: { readonly type: 'minor' }) => void;

/** V8's own, which it gives to scripts of a context that is made while this flag is set, and to nobody else. */
export function garbageCollector(): CollectGarbage {
  setFlagsFromString('--expose-gc');
  const found = runInNewContext('gc') as CollectGarbage;
  setFlagsFromString('--no-expose-gc');
  return found;
}
