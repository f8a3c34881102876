import type { KafkaPlace, KafkaRecord } from '../../connections/kafka/driver.ts';

/** So long after an entry of its own a reader does not ask: the next append tells what others have written before it. */
const restMs = 5;
/** Where others were met so lately, they are listened for without a rest. */
const companyMs = 1000;

/** What is known of a topic here, by reading it and by writing to it. */
export class Place {
  /** The next entry to be read, by whoever read last. */
  next = 0;
  /** It may be another topic by now. */
  doubtful = false;
  readonly #readers = new Set<(record: KafkaRecord) => void>();
  /** The position after the newest entry of ours. */
  #end: number | undefined;
  /** Monotonic, ms: when that was written, and when others had written before it. */
  #wroteAt = 0;
  #metAt = -Infinity;

  /** `reader` is told of each entry of ours that was taken; returns the end of that. */
  listen(reader: (record: KafkaRecord) => void): () => void {
    this.#readers.add(reader);
    return () => this.#readers.delete(reader);
  }

  /** An entry of ours was taken; `next` was to be read next when it was sent. */
  wrote({ offset, timestamp }: KafkaPlace, value: Uint8Array, next: number): void {
    const now = performance.now();
    if (this.#end !== undefined && offset !== this.#end) this.#metAt = now;
    this.#end = offset + 1;
    this.#wroteAt = now;
    // Where something had been read before there is room for nothing else, unless it is another topic of that name.
    if (offset < next) this.doubtful = true;
    // The broker's time is a part of the entry: where it is not told, the entry has to be read.
    if (this.doubtful || timestamp === undefined) return;
    for (const reader of this.#readers) reader({ offset, timestamp, value, mark: false });
  }

  /** So long need a reader who is to read `next` not ask for it, ms. */
  restMs(next: number): number {
    if (next !== this.#end || this.doubtful) return 0;
    const now = performance.now();
    return now < this.#metAt + companyMs ? 0 : this.#wroteAt + restMs - now;
  }
}
