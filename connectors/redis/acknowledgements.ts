import type { Group, Standing } from './group.ts';
import type { Loan } from './loans.ts';

interface Waiting {
  readonly loan: Loan;
  readonly resolve: (standing: Standing) => void;
  readonly reject: (error: unknown) => void;
}

/** What is acknowledged in the same moment goes to the server in one call. */
export class Acknowledgements {
  readonly #group: Group;
  #waiting: Waiting[] = [];

  constructor(group: Group) {
    this.#group = group;
  }

  /** Whose the entry was; it is acknowledged if it was this consumer's own. Rejects when that is not known. */
  add(loan: Loan): Promise<Standing> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => this.#send());
      this.#waiting.push({ loan, resolve, reject });
    });
  }

  #send(): void {
    const all = this.#waiting;
    this.#waiting = [];
    for (const [key, some] of Map.groupBy(all, ({ loan }) => loan.key)) void this.#sendOf(key, some);
  }

  async #sendOf(key: string, waiting: readonly Waiting[]): Promise<void> {
    try {
      const standings = await this.#group.say(
        'ack',
        key,
        waiting.map(({ loan }) => loan),
      );
      for (const [at, { resolve }] of waiting.entries()) resolve(standings[at] ?? 'lost');
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}
