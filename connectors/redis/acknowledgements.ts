import type { Group, Standing } from './group.ts';
import type { Loan } from './loans.ts';

/** Who acknowledges. Nothing of it may throw. */
interface Teller {
  /** Whose the entry was; it is acknowledged if it was this consumer's own. */
  told(loan: Loan, standing: Standing): void;
  /** That is not known. */
  untold(loan: Loan, error: unknown): void;
}

/** What is acknowledged in the same moment goes to the server in one call, and has one promise for all of it. */
export class Acknowledgements {
  readonly #group: Group;
  readonly #teller: Teller;
  #waiting: { readonly loans: Loan[]; readonly over: Promise<void> } | undefined;

  constructor(group: Group, teller: Teller) {
    this.#group = group;
    this.#teller = teller;
  }

  /** Resolves once the teller knows; never rejects. */
  add(loan: Loan): Promise<void> {
    this.#waiting ??= this.#begin();
    this.#waiting.loans.push(loan);
    return this.#waiting.over;
  }

  /** Resolves once all that has been added is known. */
  async settled(): Promise<void> {
    await this.#waiting?.over;
  }

  #begin(): { readonly loans: Loan[]; readonly over: Promise<void> } {
    const loans: Loan[] = [];
    const { promise: over, resolve } = Promise.withResolvers<void>();
    setImmediate(() => {
      this.#waiting = undefined;
      resolve(this.#send(loans));
    });
    return { loans, over };
  }

  async #send(loans: readonly Loan[]): Promise<void> {
    const byKey = Map.groupBy(loans, ({ key }) => key);
    await Promise.all([...byKey].map(([key, some]) => this.#sendOf(key, some)));
  }

  async #sendOf(key: string, loans: readonly Loan[]): Promise<void> {
    let standings: readonly Standing[];
    try {
      standings = await this.#group.say('ack', key, loans);
    } catch (error) {
      for (const loan of loans) this.#teller.untold(loan, error);
      return;
    }
    for (const [at, loan] of loans.entries()) this.#teller.told(loan, standings[at] ?? 'lost');
  }
}
