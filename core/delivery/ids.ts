import { randomFillSync } from 'node:crypto';

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
/** Every two characters, so that an id is put together from half as many pieces. */
const pairs = Array.from({ length: 1024 }, (_, number) => `${alphabet[number >> 5]}${alphabet[number & 31]}`);
/** Large, since to ask for randomness costs more than the randomness. */
const pool = new Uint8Array(65_536);
let used = pool.length;
let lastTime = -1;
let timePart = '';

/**
 * A ULID: 48 bits of time and 80 random ones in Crockford base 32, 26 characters. Ordered by `nowMs`, and not to be
 * guessed from another one: whoever knows an invocation's id may read its result.
 * Source: https://github.com/ulid/spec
 */
export function createId(nowMs: number): string {
  if (nowMs !== lastTime) {
    lastTime = nowMs;
    timePart = encodeTime(nowMs);
  }
  if (used + 16 > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  let id = timePart;
  // 10 of each two bytes' 16 bits: wasteful of randomness, which is cheap, and free of carries, which are not.
  for (const end = used + 16; used < end; used += 2)
    id += pairs[((pool[used] ?? 0) & 31) * 32 + ((pool[used + 1] ?? 0) & 31)];
  return id;
}

/** Whether the text has the form of an id. */
export function isId(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text);
}

function encodeTime(ms: number): string {
  let rest = Math.floor(ms);
  let text = '';
  for (let position = 0; position < 10; position++) {
    text = `${alphabet[rest % 32]}${text}`;
    rest = Math.floor(rest / 32);
  }
  return text;
}
