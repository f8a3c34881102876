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

/** What a thread that has nothing to do is busy with at the most, of its time. */
const quiet = 0.05;

/**
 * Has V8 give back what the start of this thread took, at the end of the first `everyMs` in which it had little to do. V8 does
 * so by itself, bit by bit, where little is allocated; but how much that is it learns by collecting, and a thread that has
 * nothing to do after a start never would.
 */
export function clearUpOnceQuiet(everyMs: number): void {
  let before = performance.eventLoopUtilization();
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    if (utilization > quiet) return;
    clearInterval(timer);
    garbageCollector()({ type: 'minor' });
  }, everyMs);
  timer.unref();
}
