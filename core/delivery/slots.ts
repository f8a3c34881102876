import type { Clock } from '../contracts/clock.ts';

/** Waiting this long is worth one class of priority, so that the lowest is served too. */
const agingStepMs = 1000;

interface Waiter {
  readonly rank: number;
  readonly since: number;
  /** False when the waiter had given up: the slot goes to the next one. */
  offer(): boolean;
}

/** A wait that ends with a slot, or is given up by `leave`. */
export interface SlotWait {
  readonly granted: Promise<void>;
  leave(): void;
}

/**
 * The slots of one function (how many attempts may run at once) and its waiting room: those who wait are served by
 * priority, and among equals in the order in which they came.
 */
export class FunctionSlots {
  #limit: number;
  #running = 0;
  #waiting = 0;
  readonly #clock: Clock;
  /** A binary heap by rank; who has left stays until reached, so leaving is cheap. */
  readonly #heap: Waiter[] = [];

  constructor(limit: number, clock: Clock) {
    this.#limit = limit;
    this.#clock = clock;
  }

  get limit(): number {
    return this.#limit;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** ms that the longest waiter has waited; 0 when nobody waits. */
  oldestAgeMs(): number {
    if (this.#waiting === 0) return 0;
    const oldest = this.#heap.reduce((least, waiter) => Math.min(least, waiter.since), Infinity);
    return Math.max(0, this.#clock.monotonic() - oldest);
  }

  tryAcquire(): boolean {
    if (this.#running >= this.#limit || this.#waiting > 0) return false;
    this.#running++;
    return true;
  }

  wait(priority: number): SlotWait {
    const since = this.#clock.monotonic();
    let state: 'waiting' | 'granted' | 'left' = 'waiting';
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting++;
    this.#push({
      rank: since - priority * agingStepMs,
      since,
      offer: () => {
        if (state !== 'waiting') return false;
        state = 'granted';
        this.#waiting--;
        resolve();
        return true;
      },
    });
    this.#serve();
    return {
      granted: promise,
      leave: () => {
        const had = state;
        state = 'left';
        if (had === 'granted') this.release();
        if (had === 'waiting' && --this.#waiting === 0) this.#heap.length = 0;
      },
    };
  }

  release(): void {
    this.#running--;
    this.#serve();
  }

  resize(limit: number): void {
    this.#limit = limit;
    this.#serve();
  }

  #serve(): void {
    while (this.#running < this.#limit && this.#heap.length > 0) {
      if (this.#pop()?.offer()) this.#running++;
    }
  }

  #push(waiter: Waiter): void {
    const heap = this.#heap;
    let index = heap.push(waiter) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (!above || above.rank <= waiter.rank) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = waiter;
  }

  #pop(): Waiter | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let childIndex = 2 * index + 1;
      let child = heap[childIndex];
      const other = heap[childIndex + 1];
      if (child && other && other.rank < child.rank) {
        child = other;
        childIndex++;
      }
      if (!child || child.rank >= last.rank) break;
      heap[index] = child;
      index = childIndex;
    }
    heap[index] = last;
    return first;
  }
}
