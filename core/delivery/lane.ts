import { setImmediate as turn } from 'node:timers/promises';
import type { Delivery } from '../contracts/delivery.ts';
import type { PacedCredit } from './credit.ts';

/** At most so many in one request, so that one answer of the queue stays small. */
const batch = 64;
/** What a run takes is the mean of about so many. */
const runsOfMean = 16;

/**
 * How much of one lane is asked for, runs, and is settled.
 *
 * When a function has ended, its credit goes to the next one while the queue takes the verdict: a round trip and an fsync
 * less between two runs. No more than as many as the credit are settled ahead like that, so that what a crash repeats stays
 * bounded where the queue is slow.
 *
 * A function that is quicker than its queue would stand idle while the queue answers. So as many leases more than the
 * credit are asked for as runs end until the answer is there, by a second request in turn with the first: the queue works
 * on the one while the function works on what the other brought. For a slow function those are none: what waits here is
 * kept from other gateways.
 */
export class Lane {
  readonly name: string;
  readonly credit: PacedCredit;
  /** How long was waited after the last request, if it failed. */
  pauseMs = 0;
  /** Deliveries whose credit has gone to others before the queue had taken their verdict. */
  #ahead = 0;
  /** Deliveries that wait for their turn to be one of those. */
  readonly #ended = new Set<Delivery>();
  /** Requests that the queue has not answered. */
  #requests = 0;
  /** Leases that were asked for and have not begun. */
  #owed = 0;
  /** The queue has more than it was last asked for, as far as is known. */
  #isBehind = false;
  /** How long it took to say so, and how long a run takes, ms. */
  #answerMs = 0;
  #runMs: number | undefined;
  #wake: (() => void) | undefined;

  constructor(name: string, credit: PacedCredit) {
    this.name = name;
    this.credit = credit;
    credit.onChange = () => this.#wake?.();
  }

  /** Resolves with how many leases to ask for, once there are any to ask for; with 0 once the signal aborts. */
  async room(signal: AbortSignal): Promise<number> {
    for (;;) {
      // What ends in one turn is asked for at once. And of two requests in one turn the queue would make one answer.
      await turn();
      if (signal.aborted) return 0;
      const room = this.#room();
      if (room > 0) return room;
      await this.#change(signal);
    }
  }

  /** So many are asked for. Returns whether nothing else is, so that the queue may wait for work. */
  asking(wanted: number): boolean {
    this.#owed += wanted;
    this.#requests++;
    return this.#requests === 1;
  }

  answered(wanted: number, given: number, tookMs: number): void {
    this.#owed -= wanted - given;
    this.#requests--;
    this.#isBehind = given === wanted;
    if (this.#isBehind) this.#answerMs = tookMs;
    this.#wake?.();
  }

  /** One that was given begins, or is handed back. */
  taken(): void {
    this.#owed--;
  }

  /** One that was given has waited for so long in vain. */
  waited(ms: number): void {
    this.#runMs = Math.max(this.#runMs ?? 0, ms);
  }

  /** The function has ended, after so long; the queue is being told. */
  settling(delivery: Delivery, runMs: number): void {
    this.#runMs = this.#runMs === undefined ? runMs : this.#runMs + (runMs - this.#runMs) / runsOfMean;
    this.#ended.add(delivery);
    this.#advance();
    this.#wake?.();
  }

  /** The queue has taken the verdict, or never will. */
  settled(delivery: Delivery): void {
    // Otherwise its credit is its own still, and given back with its end.
    if (!this.#ended.delete(delivery)) this.#ahead--;
    this.#advance();
  }

  #room(): number {
    const { limit, outstanding } = this.credit;
    const lead = this.#lead();
    const running = outstanding - this.#ended.size;
    const room = Math.min(limit + lead - running - this.#owed, limit, batch);
    if (this.#requests === 0) return room;
    // Two at most, and none for a few: each costs the queue as much as some leases do.
    return this.#requests === 1 && lead > 0 && room >= lead / 2 ? room : 0;
  }

  /** How many runs end while the queue answers: leases that it need not have credit for yet. */
  #lead(): number {
    const { limit } = this.credit;
    if (!this.#isBehind || this.#runMs === undefined || this.#answerMs <= 0) return 0;
    return Math.min(limit, Math.floor((limit * this.#answerMs) / this.#runMs));
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#wake = undefined;
        resolve();
      };
      signal.addEventListener('abort', wake, { once: true });
      this.#wake = wake;
    });
  }

  #advance(): void {
    for (const delivery of this.#ended) {
      if (this.#ahead >= this.credit.limit) return;
      this.#ended.delete(delivery);
      this.#ahead++;
      delivery.credit = undefined;
      this.credit.giveBack();
    }
  }
}
