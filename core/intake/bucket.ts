import type { Clock } from '../contracts/clock.ts';
import { sleep } from '../contracts/clock.ts';

export interface BucketLimits {
  readonly limit: number;
  /** ms */
  readonly per: number;
  readonly burst?: number | undefined;
}

/** A token bucket: `limit` tokens come in `per`, `burst` of them are kept. Whoever waits is served in order. */
export class Bucket {
  readonly #clock: Clock;
  readonly #capacity: number;
  readonly #msPerToken: number;
  /** Monotonic ms: when the bucket would be empty of debts. What lies ahead of now are the tokens that are owed. */
  #owedUntil = -Infinity;

  constructor({ limit, per, burst = limit }: BucketLimits, clock: Clock) {
    this.#clock = clock;
    this.#capacity = burst;
    this.#msPerToken = per / limit;
  }

  /** Resolves with true when a token is there, with false if the signal aborts first. */
  async take(signal: AbortSignal): Promise<boolean> {
    const now = this.#clock.monotonic();
    const full = now - this.#capacity * this.#msPerToken;
    this.#owedUntil = Math.max(this.#owedUntil, full) + this.#msPerToken;
    const delayMs = this.#owedUntil - now;
    return delayMs <= 0 ? !signal.aborted : sleep(delayMs, signal);
  }
}
