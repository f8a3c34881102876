import { setImmediate as turn } from 'node:timers/promises';
import type { Delivery, Linked } from '../contracts/delivery.ts';
import { isLinked, Ring, unlink } from '../kit/ring.ts';
import type { PacedCredit } from './credit.ts';

/** At most so many in one request, so that one answer of the queue stays small. */
const batch = 64;
/** What a run takes is the mean of about so many. */
const runsOfMean = 16;

/** A delivery whose function has ended, and whose verdict the queue has not taken. */
export interface Ended extends Linked {
  readonly delivery: Delivery;
}

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
  /** Those that wait for their turn to be one of those. */
  readonly #ended = new Ring<Ended>();
  #waiting = 0;
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

  /** The function has ended, after so long; the queue is being told. What it returns is for `settled`. */
  settling(delivery: Delivery, runMs: number): Ended {
    this.#runMs = this.#runMs === undefined ? runMs : this.#runMs + (runMs - this.#runMs) / runsOfMean;
    const ended: Ended = { delivery, previous: undefined, next: undefined };
    this.#ended.add(ended);
    this.#waiting++;
    this.#advance();
    this.#wake?.();
    return ended;
  }

  /** The queue has taken the verdict, or never will. */
  settled(ended: Ended): void {
    // Otherwise its credit is its own still, and given back with its end.
    if (isLinked(ended)) this.#leave(ended);
    else this.#ahead--;
    this.#advance();
  }

  #room(): number {
    const { limit, outstanding } = this.credit;
    const lead = this.#lead();
    const running = outstanding - this.#waiting;
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
    for (let { first } = this.#ended; first && this.#ahead < this.credit.limit; first = this.#ended.first) {
      this.#leave(first);
      this.#ahead++;
      first.delivery.credit = undefined;
      this.credit.giveBack();
    }
  }

  #leave(ended: Ended): void {
    unlink(ended);
    this.#waiting--;
  }
}
