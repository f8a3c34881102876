import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { readonly type: 'minor' }) => void;
let collect: Collect | undefined;

/** Collects the garbage of the young generation of this thread's heap now. */
export function collectYoung(): void {
  collect ??= collector();
  collect({ type: 'minor' });
}

/** V8 gives its collector to scripts of a context that is made while this flag is set, and to nobody else. */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const found = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
  return found;
}
