import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { readonly type: 'minor' | 'major' }) => void;
let collect: Collect | undefined;

/** Collects garbage now: that of the young generation of this thread's heap (`minor`), or all (`major`, some tens of ms). */
export function collectGarbage(type: 'minor' | 'major'): void {
  collect ??= collector();
  collect({ type });
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
 * young generation behind, which V8 would keep until half a minute of quiet has passed.
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
