import type { Clock } from '../../../core/contracts/clock.ts';
import type { Linked } from '../../../core/contracts/delivery.ts';
import type { MessageRecord, StoredResult } from '../../../core/contracts/queue.ts';
import { Ring, unlink } from '../../../core/kit/ring.ts';
import type { Stored } from './lane.ts';
import type { Timeline } from './timeline.ts';

interface Finished extends Linked {
  readonly record: MessageRecord;
  /** Undefined where there was none; `expired` once it has outlived its lifetime. */
  result: StoredResult | 'expired' | undefined;
  /** Monotonic ms: it is forgotten then. */
  readonly until: number;
}

/** How long it is remembered that there was an invocation whose result is gone, ms. */
const tombstoneMs = 86_400_000;

/**
 * The messages of a queue by their ids, and what is remembered of those that have ended, in the same place: in a Map of
 * their own the messages would come and go, and the tables that such a Map outgrows keep what was in them until the next
 * full collection.
 */
export class Known {
  readonly #limits: { readonly invocations: number; readonly bytes: number };
  readonly #clock: Clock;
  readonly #timeline: Timeline;
  readonly #byId = new Map<string, Stored | Finished>();
  /** In the order of their ends. A Map has an order too, but looks at all that it has lost before it finds its first. */
  readonly #ends = new Ring<Finished>();
  #waiting = 0;
  #resultBytes = 0;

  constructor(limits: { readonly invocations: number; readonly bytes: number }, clock: Clock, timeline: Timeline) {
    this.#limits = limits;
    this.#clock = clock;
    this.#timeline = timeline;
  }

  /** How many have not ended. */
  get waiting(): number {
    return this.#waiting;
  }

  has(id: string): boolean {
    const known = this.#byId.get(id);
    return known !== undefined && ('message' in known || this.#isRemembered(known));
  }

  /** One that has not ended. */
  stored(id: string): Stored | undefined {
    const known = this.#byId.get(id);
    return known && 'message' in known ? known : undefined;
  }

  /** The record of one that has ended, with its result. */
  finished(id: string): MessageRecord | undefined {
    const known = this.#byId.get(id);
    if (!known || 'message' in known || !this.#isRemembered(known)) return undefined;
    return { ...known.record, result: known.result };
  }

  add(stored: Stored): void {
    this.#byId.set(stored.message.id, stored);
    this.#waiting++;
  }

  /** Its result is kept for so long, and then for a day that it was there; less where that would be too much. */
  end(record: MessageRecord, result: StoredResult | undefined, resultTtlMs: number, now: number): void {
    const gone = now + resultTtlMs;
    const hasResult = resultTtlMs > 0;
    const finished: Finished = {
      record,
      result: hasResult ? result : 'expired',
      until: gone + tombstoneMs,
      previous: undefined,
      next: undefined,
    };
    this.#byId.set(record.id, finished);
    this.#waiting--;
    this.#ends.add(finished);
    if (hasResult) {
      this.#resultBytes += sizeOf(finished);
      this.#timeline.at(gone, () => this.#loseResult(finished));
    }
    this.#forget(now);
  }

  #forget(now: number): void {
    const { invocations, bytes } = this.#limits;
    for (let { first } = this.#ends; first; first = this.#ends.first) {
      const isTooMuch = this.#byId.size - this.#waiting > invocations || this.#resultBytes > bytes;
      if (!isTooMuch && first.until > now) return;
      this.#loseResult(first);
      unlink(first);
      const { id } = first.record;
      // Its id may have been used again since its time was over.
      if (this.#byId.get(id) === first) this.#byId.delete(id);
    }
  }

  #isRemembered({ until }: Finished): boolean {
    return until > this.#clock.monotonic();
  }

  #loseResult(finished: Finished): void {
    this.#resultBytes -= sizeOf(finished);
    finished.result = 'expired';
  }
}

function sizeOf({ result }: Finished): number {
  return typeof result === 'object' ? result.body.byteLength : 0;
}
