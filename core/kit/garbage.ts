import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { readonly type: 'minor' | 'major'; readonly flavor?: 'last-resort' }) => void;
let collect: Collect | undefined;

/**
 * Collects garbage of this thread's heap now: that of its young generation (`minor`), or all there is, so that what it
 * took goes back to the system (`major`: about 80 ms with 1,000 functions and 110 with 10,000, in which nothing else runs).
 */
export function collectGarbage(type: 'minor' | 'major'): void {
  collect ??= collector();
  // Without the word for it V8 keeps the size that its young generation has grown to.
  collect(type === 'minor' ? { type } : { type, flavor: 'last-resort' });
}

/** V8 gives its collector to scripts of a context that is made while this flag is set, and to nobody else. */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const found = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
  return found;
}

/** What a thread that has nothing to do is busy with at the most, of its time. */
const quiet = 0.05;

/**
 * Collects all garbage once, at the end of the first `everyMs` in which this thread had little to do: a start leaves a large
 * young generation behind, and pages with holes, which V8 would keep.
 */
export function collectOnceQuiet(everyMs: number): void {
  let before = performance.eventLoopUtilization();
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    if (utilization > quiet) return;
    clearInterval(timer);
    collectGarbage('major');
  }, everyMs);
  timer.unref();
}
