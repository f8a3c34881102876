import { isMissing } from './stream.ts';
import { unavailable } from './reader.ts';

/** Entries `from` to `upTo`, both offsets of the stream, in this order, as far as they are there. */
export interface Range {
  readonly stream: string;
  readonly from: number;
  readonly upTo: number;
}

/** Where a position is; undefined when it is not kept. `end`: the first offset of the stream that is not there. */
export interface Place {
  readonly stream: string;
  readonly base: number;
  readonly offset: number;
  readonly end: number;
}

export interface ColdReadsOptions {
  readonly locate: (position: number) => Place | undefined;
  /** Hands out the entries of the range. */
  readonly scan: (range: Range, hear: (offset: number, data: Uint8Array) => void) => Promise<void>;
  /** Looks whether what is missing was forgotten; then `locate` knows it afterwards. */
  readonly refresh: () => Promise<void>;
}

interface Wanted {
  readonly position: number;
  readonly resolve: (data: Uint8Array | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** Beginning to read a stream takes 10 ms, a further entry of it far less: what is near is read together, and some more. */
const nearOffsets = 32;
const aheadOffsets = 8;
const rangesAtOnce = 4;
const cacheBytes = 16 * 2 ** 20;

/** Entries by their position: what is asked for in one turn is read together, and what was read lately is kept. */
export class ColdReads {
  readonly #options: ColdReadsOptions;
  readonly #cache = new Map<number, Uint8Array>();
  #cachedBytes = 0;
  #wanted: Wanted[] = [];
  #running = 0;

  constructor(options: ColdReadsOptions) {
    this.#options = options;
  }

  keep(position: number, data: Uint8Array): void {
    if (this.#cache.has(position)) return;
    this.#cache.set(position, data);
    this.#cachedBytes += data.byteLength;
    for (const [oldest, { byteLength }] of this.#cache) {
      if (this.#cachedBytes <= cacheBytes) break;
      this.#cache.delete(oldest);
      this.#cachedBytes -= byteLength;
    }
  }

  get(position: number): Promise<Uint8Array | undefined> {
    const cached = this.#cache.get(position);
    if (cached) return Promise.resolve(cached);
    return new Promise((resolve, reject) => {
      if (this.#wanted.length === 0) setImmediate(() => this.#pump());
      this.#wanted.push({ position, resolve, reject });
    });
  }

  #pump(): void {
    while (this.#running < rangesAtOnce && this.#wanted.length > 0) {
      const some = this.#next();
      this.#running++;
      void this.#read(some).finally(() => {
        this.#running--;
        this.#pump();
      });
    }
  }

  /** Those that are near the first one. */
  #next(): Wanted[] {
    const sorted = this.#wanted.toSorted((a, b) => a.position - b.position);
    let count = 1;
    for (; count < sorted.length; count++) {
      const gap = (sorted[count]?.position ?? 0) - (sorted[count - 1]?.position ?? 0);
      if (gap > nearOffsets) break;
    }
    this.#wanted = sorted.slice(count);
    return sorted.slice(0, count);
  }

  async #read(wanted: readonly Wanted[]): Promise<void> {
    let left = [...wanted];
    const settle = (position: number, data: Uint8Array | undefined): void => {
      for (const each of left) if (each.position === position) each.resolve(data);
      left = left.filter((each) => each.position !== position);
    };
    try {
      for (let next = left[0]; next; next = left[0]) {
        const { position } = next;
        const place = this.#cache.has(position) ? undefined : this.#options.locate(position);
        if (!place || place.offset >= place.end) {
          settle(position, this.#cache.get(position));
          continue;
        }
        const last = Math.min(place.end - 1, (left.at(-1)?.position ?? position) - place.base);
        const range = { stream: place.stream, from: place.offset, upTo: Math.min(place.end, last + 1 + aheadOffsets) };
        try {
          await this.#options.scan(range, (offset, data) => {
            this.keep(place.base + offset, data);
            settle(place.base + offset, data);
          });
        } catch (error) {
          if (!isMissing(error)) throw error;
          await this.#options.refresh();
          if (this.#options.locate(position)) throw error;
        }
        // What was not among them is a mark, or is gone.
        const upTo = place.base + range.upTo;
        for (const each of left) if (each.position < upTo) settle(each.position, undefined);
      }
    } catch (error) {
      const refusal = unavailable('a message cannot be read', error);
      for (const { reject } of left) reject(refusal);
    }
  }
}
