import { planted } from '../delivery/failpoint.ts';

/** For the tests only: runs what it has no slot for. */
const runsAll = planted('front-without-slots');

/** How many more are asked for at once, at least. */
const step = 8;

interface Borrowed {
  count: number;
  /** Of these, what is owed as soon as it is free. */
  owed: number;
  running: number;
  /** The most that ran since the last look. */
  peak: number;
  /** It has been asked for more, and there is no answer yet, or it was no and not long ago. */
  isAsked: boolean;
}

/** How a borrower speaks with whoever lends. */
export interface LenderLine {
  borrow(name: string, count: number): void;
  returned(name: string, count: number): void;
}

/** The slots of functions that a front has of the owner. What it does not use goes back at the next look. */
export class Borrower {
  readonly #line: LenderLine;
  readonly #functions = new Map<string, Borrowed>();

  constructor(line: LenderLine) {
    this.#line = line;
  }

  /** Takes a slot for one call; false where there is none, and then more are asked for. */
  tryTake(name: string): boolean {
    const borrowed = this.#of(name);
    if (borrowed.running >= borrowed.count && !runsAll) {
      if (!borrowed.isAsked) {
        borrowed.isAsked = true;
        this.#line.borrow(name, Math.max(step, borrowed.running));
      }
      return false;
    }
    borrowed.running++;
    borrowed.peak = Math.max(borrowed.peak, borrowed.running);
    return true;
  }

  /** Its call has ended. */
  release(name: string): void {
    const borrowed = this.#of(name);
    borrowed.running--;
    if (borrowed.owed > 0) this.#giveBack(name, borrowed, 1);
  }

  lent(name: string, count: number): void {
    const borrowed = this.#of(name);
    borrowed.count += count;
    borrowed.isAsked = count === 0;
  }

  /** All that it has is owed: what is idle at once, the rest as it ends. */
  recall(name: string): void {
    const borrowed = this.#of(name);
    borrowed.owed = borrowed.count;
    this.#giveBack(name, borrowed, borrowed.count - borrowed.running);
  }

  recallAll(): void {
    for (const name of this.#functions.keys()) this.recall(name);
  }

  /** To be called now and then: gives back what was not needed since the last time. */
  look(): void {
    for (const [name, borrowed] of this.#functions) {
      this.#giveBack(name, borrowed, borrowed.count - Math.max(borrowed.peak, borrowed.running));
      borrowed.peak = borrowed.running;
      borrowed.isAsked = false;
      if (borrowed.count === 0 && borrowed.running === 0) this.#functions.delete(name);
    }
  }

  #giveBack(name: string, borrowed: Borrowed, count: number): void {
    if (count <= 0) return;
    borrowed.count -= count;
    borrowed.owed = Math.max(0, borrowed.owed - count);
    this.#line.returned(name, count);
  }

  #of(name: string): Borrowed {
    let borrowed = this.#functions.get(name);
    if (!borrowed) {
      borrowed = { count: 0, owed: 0, running: 0, peak: 0, isAsked: false };
      this.#functions.set(name, borrowed);
    }
    return borrowed;
  }
}
