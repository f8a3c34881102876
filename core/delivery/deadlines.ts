import type { Clock } from '../contracts/clock.ts';
import type { Linked } from '../contracts/delivery.ts';
import { Ring, unlink } from '../kit/ring.ts';

const tickMs = 25;

/** Something that is told when its time has passed. It carries its own place on the wheel, undefined at first. */
export interface Expiring extends Linked {
  /** Monotonic ms. */
  readonly deadline: number;
  expire(): void;
}

/**
 * The deadlines of everything in flight, on one timer: a timer for each call would cost more than the pipeline. A
 * deadline is met within one tick (25 ms), never early. There is a ring for each tick.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #ticks = new Map<number, Ring<Expiring>>();
  /** The first tick that has not been looked at. */
  #next: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#next = tickOf(clock.monotonic());
  }

  watch(item: Expiring): void {
    if (!this.#timer) {
      this.#next = tickOf(this.#clock.monotonic());
      this.#timer = setInterval(() => this.#turn(), tickMs);
    }
    const number = Math.max(tickOf(item.deadline), this.#next);
    let tick = this.#ticks.get(number);
    if (!tick) {
      tick = new Ring();
      this.#ticks.set(number, tick);
    }
    tick.add(item);
  }

  /** For what ended in time: nothing of it is kept. */
  forget(item: Expiring): void {
    unlink(item);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#ticks.clear();
  }

  #turn(): void {
    const now = Math.floor(this.#clock.monotonic() / tickMs);
    for (; this.#next <= now; this.#next++) {
      const tick = this.#ticks.get(this.#next);
      if (!tick) continue;
      this.#ticks.delete(this.#next);
      for (let item = tick.first; item; item = tick.first) {
        this.forget(item);
        item.expire();
      }
    }
    if (this.#ticks.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}

/** The first tick at or after the time. */
function tickOf(time: number): number {
  return Math.ceil(time / tickMs);
}
