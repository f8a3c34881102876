import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Bytes of streamed bodies from one young collection to the next. V8 begins one by itself at 64 MiB of buffers, which are then
 * the most of what a stream takes of memory; with less than 16 MiB those on their way outlive two of them, and get old.
 */
const mostBytes = 16 * 2 ** 20;
let passed = 0;
let collect: (() => void) | undefined;

/** Of each piece of a body that only passes through: nobody here keeps it, so that its bytes can soon be had again. */
export function passes(piece: Uint8Array): void {
  passed += piece.byteLength;
  if (passed < mostBytes) return;
  passed = 0;
  collect ??= youngCollection();
  collect();
}

/** V8 gives its collector to scripts of a context that was made while this flag is set, and to nobody else. */
function youngCollection(): () => void {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as (options: { readonly type: 'minor' }) => void;
  setFlagsFromString('--no-expose-gc');
  return () => collectGarbage({ type: 'minor' });
}
