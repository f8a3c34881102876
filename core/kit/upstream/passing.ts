import { type CollectGarbage, garbageCollector } from '../garbage.ts';

/**
 * Bytes of streamed bodies from one young collection to the next. V8 begins one by itself at 64 MiB of buffers, which are then
 * the most of what a stream takes of memory; with 16 MiB those on their way outlive two of them and get old, which costs more.
 */
const mostBytes = 24 * 2 ** 20;
let passed = 0;
let collect: CollectGarbage | undefined;

/** Of each piece of a body that only passes through: nobody here keeps it, so that its bytes can soon be had again. */
export function passes(piece: Uint8Array): void {
  passed += piece.byteLength;
  if (passed < mostBytes) return;
  passed = 0;
  collect ??= garbageCollector();
  collect({ type: 'minor' });
}
