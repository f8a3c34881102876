import type { Catalog } from '../functions/catalog.ts';
import type { FunctionSlots } from '../delivery/slots.ts';

/** The calls in flight of the connector that answers calls of functions. */
export interface InFlight {
  readonly limit: number;
  readonly outstanding: number;
  tryTake(): boolean;
  giveBack(): void;
}

/** Whoever is lent something: one front. */
export interface Debtor {
  recall(name: string): void;
}

interface Loan {
  readonly slots: FunctionSlots;
  readonly debtor: Debtor;
  readonly inFlight: InFlight;
  count: number;
  /** Of these, what has been asked back and has not come yet. */
  recalled: number;
}

/**
 * Lends slots of functions to fronts, each with its place among the calls in flight: so the bounds of the gateway hold
 * over all of its processes. Half of what is free is lent at a time. Whoever has to wait for a slot has all of that function
 * asked back, and nothing more is lent while anybody waits: the waiting room is the owner's alone, and in order.
 */
export class Lender {
  readonly #catalog: Catalog;
  readonly #inFlight: () => InFlight | undefined;
  readonly #loans = new Map<string, Map<Debtor, Loan>>();

  constructor(catalog: Catalog, inFlight: () => InFlight | undefined) {
    this.#catalog = catalog;
    this.#inFlight = inFlight;
  }

  /** How many it gets; 0 is an answer, too. */
  lend(name: string, wanted: number, debtor: Debtor): number {
    const slots = this.#catalog.get(name)?.slots;
    const inFlight = this.#inFlight();
    if (!slots || !inFlight) return 0;
    const most = Math.min(wanted, half(slots.free), half(inFlight.limit - inFlight.outstanding));
    const count = slots.lend(most);
    for (let taken = 0; taken < count; taken++) inFlight.tryTake();
    if (count === 0) return 0;
    slots.onShort = () => this.#recall(name);
    const loan = this.#loanOf(name, debtor, slots, inFlight);
    loan.count += count;
    return count;
  }

  returned(name: string, count: number, debtor: Debtor): void {
    const loan = this.#loans.get(name)?.get(debtor);
    if (loan) this.#takeBack(name, loan, Math.min(count, loan.count));
  }

  /** It has ended, and what it ran with it. */
  forget(debtor: Debtor): void {
    for (const [name, loans] of this.#loans) {
      const loan = loans.get(debtor);
      if (loan) this.#takeBack(name, loan, loan.count);
    }
  }

  #loanOf(name: string, debtor: Debtor, slots: FunctionSlots, inFlight: InFlight): Loan {
    const loans = this.#loans.get(name) ?? new Map<Debtor, Loan>();
    this.#loans.set(name, loans);
    const loan = loans.get(debtor) ?? { slots, debtor, inFlight, count: 0, recalled: 0 };
    loans.set(debtor, loan);
    return loan;
  }

  #recall(name: string): void {
    for (const loan of this.#loans.get(name)?.values() ?? []) {
      if (loan.recalled >= loan.count) continue;
      loan.recalled = loan.count;
      loan.debtor.recall(name);
    }
  }

  #takeBack(name: string, loan: Loan, count: number): void {
    loan.count -= count;
    loan.recalled = Math.max(0, loan.recalled - count);
    if (loan.count === 0) {
      const loans = this.#loans.get(name);
      loans?.delete(loan.debtor);
      if (loans?.size === 0) this.#loans.delete(name);
    }
    loan.slots.takeBack(count);
    for (let given = 0; given < count; given++) loan.inFlight.giveBack();
  }
}

function half(count: number): number {
  return Math.max(0, Math.floor(count / 2));
}
