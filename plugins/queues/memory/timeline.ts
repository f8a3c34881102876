import type { Clock } from '../../../core/contracts/clock.ts';
import { Heap } from '../../../core/kit/heap.ts';

interface Entry {
  readonly at: number;
  readonly run: () => void;
}

/** What is to happen at which time, on the clock of the queue. A timer of the machine only wakes it. */
export class Timeline {
  readonly #clock: Clock;
  readonly #entries = new Heap<Entry>((a, b) => a.at < b.at);
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  at(at: number, run: () => void): void {
    this.#entries.push({ at, run });
    this.#arm();
  }

  /** Everything that is due by now; returns that, on the clock of the queue. */
  run(): number {
    const now = this.#clock.monotonic();
    for (let next = this.#entries.peek(); next && next.at <= now; next = this.#entries.peek()) {
      this.#entries.pop();
      next.run();
    }
    this.#arm();
    return now;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#entries.clear();
  }

  #arm(): void {
    const at = this.#entries.peek()?.at ?? Infinity;
    if (at === this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    if (at === Infinity) return;
    const delay = Math.min(Math.max(1, Math.ceil(at - this.#clock.monotonic())), 2 ** 31 - 1);
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      this.run();
    }, delay).unref();
  }
}
