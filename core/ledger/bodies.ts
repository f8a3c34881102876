import { MillraceError } from '../contracts/errors.ts';
import type { Journal } from '../contracts/journal.ts';
import type { Ref } from './records.ts';

interface Put {
  readonly bytes: Uint8Array;
  readonly resolve: (ref: Ref) => void;
  readonly reject: (error: unknown) => void;
}

/** What goes into one entry at most, unless one body alone is larger. */
const entryBytes = 256 * 1024;
const waitingBytes = 256 * 2 ** 20;
/** Entries read or written lately are kept, up to so many bytes. */
const cacheBytes = 32 * 2 ** 20;

/** The journal of bodies: many in one entry, one that is too large for an entry in several. */
export class Bodies {
  readonly #journal: Journal;
  #waiting: Put[] = [];
  #waitingBytes = 0;
  #pumping = false;
  readonly #cache = new Map<number, Uint8Array>();
  #cachedBytes = 0;
  readonly #reading = new Map<number, Promise<Uint8Array | undefined>>();

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** Resolves once they are durable, in the order in which it was asked. */
  put(all: readonly Uint8Array[]): Promise<Ref[]> {
    const refs = all.map((bytes) => new Promise<Ref>((resolve, reject) => this.#ask({ bytes, resolve, reject })));
    return Promise.all(refs);
  }

  /** Undefined when they are gone. */
  async get([offset, length, ...positions]: Ref): Promise<Uint8Array | undefined> {
    const entries = await Promise.all(positions.map((position) => this.#entry(position)));
    if (entries.includes(undefined)) return undefined;
    const [only] = entries;
    const whole = entries.length === 1 && only ? only : Buffer.concat(entries as Uint8Array[]);
    return whole.byteLength < offset + length ? undefined : whole.subarray(offset, offset + length);
  }

  #ask(put: Put): void {
    if (!this.#journal.available) {
      put.reject(new MillraceError('queue.unavailable', 'the broker cannot be reached', { retryAfterSeconds: 1 }));
      return;
    }
    if (this.#waitingBytes + put.bytes.byteLength > waitingBytes) {
      const message = 'the broker is too slow for what is asked';
      put.reject(new MillraceError('queue.unavailable', message, { retryAfterSeconds: 1 }));
      return;
    }
    this.#waiting.push(put);
    this.#waitingBytes += put.bytes.byteLength;
    if (!this.#pumping) void this.#pump();
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    try {
      // What is asked in the same turn goes together.
      await Promise.resolve();
      while (this.#waiting.length > 0) await this.#send(this.#next());
    } finally {
      this.#pumping = false;
    }
  }

  #next(): Put[] {
    const limit = Math.min(entryBytes, this.#journal.maxBytes);
    let bytes = 0;
    let count = 0;
    for (const put of this.#waiting) {
      bytes += put.bytes.byteLength;
      if (count > 0 && bytes > limit) break;
      this.#waitingBytes -= put.bytes.byteLength;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #send(puts: readonly Put[]): Promise<void> {
    try {
      const whole = Buffer.concat(puts.map(({ bytes }) => bytes));
      const positions: number[] = [];
      const { maxBytes } = this.#journal;
      for (let at = 0; at === 0 || at < whole.byteLength; at += maxBytes) {
        const entry = whole.subarray(at, at + maxBytes);
        const position = await this.#journal.append(entry);
        positions.push(position);
        this.#keep(position, entry);
      }
      let offset = 0;
      for (const { bytes, resolve } of puts) {
        resolve([offset, bytes.byteLength, ...positions]);
        offset += bytes.byteLength;
      }
    } catch (error) {
      // Whatever was taken of them is referred to by nobody.
      for (const { reject } of puts) reject(error);
    }
  }

  async #entry(position: number): Promise<Uint8Array | undefined> {
    const cached = this.#cache.get(position);
    if (cached) return cached;
    let reading = this.#reading.get(position);
    if (!reading) {
      reading = this.#journal.read(position).finally(() => this.#reading.delete(position));
      this.#reading.set(position, reading);
    }
    const entry = await reading;
    if (entry) this.#keep(position, entry);
    return entry;
  }

  #keep(position: number, entry: Uint8Array): void {
    if (this.#cache.has(position)) return;
    this.#cache.set(position, entry);
    this.#cachedBytes += entry.byteLength;
    // The oldest go first: what was written long ago is handed out already, or will not be for long.
    for (const [oldest, { byteLength }] of this.#cache) {
      if (this.#cachedBytes <= cacheBytes) break;
      this.#cache.delete(oldest);
      this.#cachedBytes -= byteLength;
    }
  }
}
