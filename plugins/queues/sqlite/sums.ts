import { crc32 } from 'node:zlib';
import { planted } from '../../../core/delivery/failpoint.ts';

/** For the test of damaged files only: believes what it reads. */
const trusts = planted('skip-checksums');

/**
 * A checksum of parts of a message, and of whose they are: a damaged file must not give a message the body of another, nor
 * to another function. Negative, which tells it from those of format 1: they covered the parts alone.
 */
export function sumOf(id: string, lane: string, ...parts: readonly (string | Uint8Array)[]): number {
  return -1 - crcOf(parts, seedOf(id, lane));
}

// The sums of one message are asked for one after the other.
let lastId: string | undefined;
let lastLane = '';
let lastSeed = 0;

function seedOf(id: string, lane: string): number {
  if (id !== lastId || lane !== lastLane) {
    lastSeed = crc32(`${id}\0${lane}\0`);
    lastId = id;
    lastLane = lane;
  }
  return lastSeed;
}

/** Whether these are the parts that were written, and of that message. */
export function isWhole(sum: number, id: string, lane: string, ...parts: readonly (string | Uint8Array)[]): boolean {
  return trusts || sum === (sum < 0 ? sumOf(id, lane, ...parts) : crcOf(parts));
}

function crcOf(parts: readonly (string | Uint8Array)[], seed = 0): number {
  let sum = seed;
  for (const part of parts) sum = crc32(part, sum);
  return sum;
}
