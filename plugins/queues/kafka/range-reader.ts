import type { KafkaPartition, KafkaRecord } from '../../connections/kafka/driver.ts';

interface Wanted {
  readonly resolve: (data: Uint8Array | undefined) => void;
  readonly reject: (error: unknown) => void;
}

const settleMs = 500;
const rangeBytes = 256 * 1024;
/** Entries that came along with those that were asked for, since they are mostly asked for next. */
const keptBytes = 4 * 2 ** 20;

/** Reads single entries by ranges: what is asked for while a request is under way goes together, in the order of the log. */
export class RangeReader {
  readonly #partition: KafkaPartition;
  readonly #wanted = new Map<number, Wanted[]>();
  readonly #kept = new Map<number, Uint8Array>();
  #keptBytes = 0;
  #reading = false;

  constructor(partition: KafkaPartition) {
    this.#partition = partition;
  }

  /** Undefined when there is no entry at that position (any more). */
  read(position: number): Promise<Uint8Array | undefined> {
    const kept = this.#take(position);
    if (kept) return Promise.resolve(kept);
    return new Promise((resolve, reject) => {
      const others = this.#wanted.get(position) ?? [];
      this.#wanted.set(position, [...others, { resolve, reject }]);
      if (!this.#reading) void this.#pump();
    });
  }

  close(): void {
    this.#partition.close();
  }

  async #pump(): Promise<void> {
    this.#reading = true;
    try {
      // What is asked in the same turn goes together.
      await Promise.resolve();
      while (this.#wanted.size > 0) await this.#range(Math.min(...this.#wanted.keys()));
    } finally {
      this.#reading = false;
    }
  }

  async #range(from: number): Promise<void> {
    try {
      const records = (await this.#fetch(from, 0)) ?? (await this.#confirm(from));
      for (const { offset, value, mark } of records) {
        if (mark) continue;
        // Not a part of the whole answer, which would be kept with it.
        const data = new Uint8Array(value ?? []);
        if (this.#wanted.has(offset)) this.#answer(offset, data);
        else this.#keep(offset, data);
      }
      this.#answer(from, undefined);
    } catch (error) {
      for (const position of this.#wanted.keys()) this.#fail(position, error);
    }
  }

  /** Undefined when nothing came. */
  async #fetch(from: number, waitMs: number): Promise<KafkaRecord[] | undefined> {
    try {
      const records = await this.#partition.fetch(from, { maxBytes: rangeBytes, waitMs });
      return records.length > 0 ? records : undefined;
    } catch (error) {
      if ((error as { readonly type?: unknown }).type === 'OFFSET_OUT_OF_RANGE') return undefined;
      throw error;
    }
  }

  /** A leader that is new may not know yet what it may give; that nothing is there is said only when it is so. */
  async #confirm(from: number): Promise<KafkaRecord[]> {
    const { first, next } = await this.#partition.bounds();
    if (from < first || from >= next) return [];
    const records = await this.#fetch(from, settleMs);
    if (records) return records;
    throw new Error(`the broker does not give entry ${from} of ${first} to ${next - 1}`);
  }

  #answer(position: number, data: Uint8Array | undefined): void {
    const all = this.#wanted.get(position) ?? [];
    this.#wanted.delete(position);
    for (const { resolve } of all) resolve(data);
  }

  #fail(position: number, error: unknown): void {
    const all = this.#wanted.get(position) ?? [];
    this.#wanted.delete(position);
    for (const { reject } of all) reject(error);
  }

  /** Whoever asked for it keeps it, so it need not be kept here. */
  #take(position: number): Uint8Array | undefined {
    const data = this.#kept.get(position);
    if (data && this.#kept.delete(position)) this.#keptBytes -= data.byteLength;
    return data;
  }

  #keep(position: number, data: Uint8Array): void {
    if (this.#kept.has(position)) return;
    this.#kept.set(position, data);
    this.#keptBytes += data.byteLength;
    for (const oldest of this.#kept.keys()) {
      if (this.#keptBytes <= keptBytes) break;
      this.#take(oldest);
    }
  }
}
