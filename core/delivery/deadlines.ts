import type { Clock } from '../contracts/clock.ts';

const tickMs = 25;

/** Something that is told when its time has passed. */
export interface Expiring {
  /** Monotonic ms. */
  readonly deadline: number;
  expire(): void;
}

/**
 * The deadlines of everything in flight, on one timer: a timer for each call would cost more than the pipeline. A
 * deadline is met within one tick (25 ms), never early.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #ticks = new Map<number, Set<Expiring>>();
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
    const tick = Math.max(tickOf(item.deadline), this.#next);
    const items = this.#ticks.get(tick);
    if (items) items.add(item);
    else this.#ticks.set(tick, new Set([item]));
  }

  /** For what ended in time: nothing of it is kept. */
  forget(item: Expiring): void {
    this.#ticks.get(tickOf(item.deadline))?.delete(item);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#ticks.clear();
  }

  #turn(): void {
    const now = Math.floor(this.#clock.monotonic() / tickMs);
    for (; this.#next <= now; this.#next++) {
      const items = this.#ticks.get(this.#next);
      if (!items) continue;
      this.#ticks.delete(this.#next);
      for (const item of items) item.expire();
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
