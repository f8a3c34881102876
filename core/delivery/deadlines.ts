import type { Clock } from '../contracts/clock.ts';

const tickMs = 25;

/** What has a place in a ring. Only the wheel changes it; undefined while it is in none. */
interface Linked {
  previous: Linked | undefined;
  next: Linked | undefined;
}

/** Something that is told when its time has passed. It carries its own place on the wheel, undefined at first. */
export interface Expiring extends Linked {
  /** Monotonic ms. */
  readonly deadline: number;
  expire(): void;
}

/** Where the ring of one tick begins and ends. */
class Tick implements Linked {
  previous: Linked = this;
  next: Linked = this;
}

/**
 * The deadlines of everything in flight, on one timer: a timer for each call would cost more than the pipeline. A
 * deadline is met within one tick (25 ms), never early.
 *
 * Items are linked into a ring for each tick, and unlinked when they are forgotten. A Set would do the same, but it
 * leaves the tables that it outgrew behind, full of calls: those in the old generation keep whole requests alive until
 * the next full collection, which made every young collection copy a quarter of all that was allocated.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #ticks = new Map<number, Tick>();
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
      tick = new Tick();
      this.#ticks.set(number, tick);
    }
    const last = tick.previous;
    item.previous = last;
    item.next = tick;
    last.next = item;
    tick.previous = item;
  }

  /** For what ended in time: nothing of it is kept. */
  forget(item: Expiring): void {
    const { previous, next } = item;
    if (!previous || !next) return;
    previous.next = next;
    next.previous = previous;
    item.previous = undefined;
    item.next = undefined;
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
      while (tick.next !== tick) {
        const item = tick.next as Expiring;
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
