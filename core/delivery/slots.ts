import type { Clock } from '../contracts/clock.ts';
import { Heap } from '../kit/heap.ts';

/** Waiting this long is worth one class of priority, so that the lowest is served too. */
const agingStepMs = 1000;

interface Waiter {
  readonly rank: number;
  /** Order of coming, among equals. */
  readonly turn: number;
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
  #lent = 0;
  #waiting = 0;
  #held = 0;
  #turn = 0;
  readonly #clock: Clock;
  /** A binary heap by rank; who has left stays until reached, so leaving is cheap. */
  readonly #heap = new Heap<Waiter>((a, b) => a.rank < b.rank || (a.rank === b.rank && a.turn < b.turn));
  /** Called when somebody has to wait, or there are fewer than before, while some are lent. */
  onShort: (() => void) | undefined;

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

  /** Those that another process of the gateway has. */
  get lent(): number {
    return this.#lent;
  }

  /** Those that nobody has, and nobody waits for. */
  get free(): number {
    return this.#waiting > 0 ? 0 : Math.max(0, this.#limit - this.#running - this.#lent);
  }

  /** Up to so many of the free ones go to another process, which owes them; returns how many. */
  lend(count: number): number {
    const lent = Math.min(count, this.free);
    this.#lent += lent;
    return lent;
  }

  takeBack(count: number): void {
    this.#lent -= count;
    this.#serve();
  }

  /** Callers that wait for the function itself to be ready. */
  get held(): number {
    return this.#held;
  }

  hold(): void {
    this.#held++;
  }

  unhold(): void {
    this.#held--;
  }

  /** ms that the longest waiter has waited; 0 when nobody waits. */
  oldestAgeMs(): number {
    if (this.#waiting === 0) return 0;
    const oldest = this.#heap.values().reduce((least, waiter) => Math.min(least, waiter.since), Infinity);
    return Math.max(0, this.#clock.monotonic() - oldest);
  }

  tryAcquire(): boolean {
    if (this.#running + this.#lent >= this.#limit || this.#waiting > 0) return false;
    this.#running++;
    return true;
  }

  wait(priority: number): SlotWait {
    const since = this.#clock.monotonic();
    let state: 'waiting' | 'granted' | 'left' = 'waiting';
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting++;
    this.#heap.push({
      rank: since - priority * agingStepMs,
      turn: this.#turn++,
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
    if (this.#lent > 0 && this.#waiting > 0) this.onShort?.();
    return {
      granted: promise,
      leave: () => {
        const had = state;
        state = 'left';
        if (had === 'granted') this.release();
        if (had === 'waiting' && --this.#waiting === 0) this.#heap.clear();
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
    if (this.#lent > 0 && this.#running + this.#lent > limit) this.onShort?.();
  }

  #serve(): void {
    while (this.#running + this.#lent < this.#limit && this.#heap.size > 0) {
      if (this.#heap.pop()?.offer()) this.#running++;
    }
  }
}
