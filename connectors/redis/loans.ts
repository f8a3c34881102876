import type { Delivery } from '../../core/contracts/delivery.ts';
import type { Fields } from './entry.ts';
import type { Entry } from './group.ts';

/** An entry that the group has lent us. Given again while it is here, it is the same loan, with another count. */
export interface Loan extends Omit<Entry, 'count' | 'fields'> {
  /** Empty once it is not here any more. */
  fields: Fields;
  /** How often the group has given it. */
  count: number;
  /** Until it is acknowledged, or found to be pending here no longer. */
  isHere: boolean;
  /** Set while it is here, once it has been emitted. */
  delivery: Delivery | undefined;
}

const nothing: Fields = [];

/** The entries that are here, by stream. */
export class Loans {
  readonly #byKey = new Map<string, Map<string, Loan>>();

  /** The loan of an entry that had not been here. */
  add({ key, id, count, fields }: Entry): Loan | undefined {
    const ofKey = this.#byKey.get(key) ?? new Map<string, Loan>();
    this.#byKey.set(key, ofKey);
    const present = ofKey.get(id);
    // In a stream that was made anew another entry may have its id: then what is here is the loan of nothing.
    if (present && areEqual(present.fields, fields)) {
      present.count = count;
      return undefined;
    }
    if (present) present.isHere = false;
    const loan: Loan = { key, id, count, fields, isHere: true, delivery: undefined };
    ofKey.set(id, loan);
    return loan;
  }

  delete(loan: Loan): void {
    if (loan.isHere) this.#byKey.get(loan.key)?.delete(loan.id);
    loan.isHere = false;
    // The table that held it may outlive it, and would keep the whole of a dead delivery and what the client received.
    loan.delivery = undefined;
    loan.fields = nothing;
  }

  idsOf(key: string): Iterable<string> {
    return this.#byKey.get(key)?.keys() ?? [];
  }

  /** As they are now. */
  byKey(): readonly (readonly [key: string, loans: readonly Loan[]])[] {
    return [...this.#byKey].flatMap(([key, loans]) => (loans.size > 0 ? [[key, [...loans.values()]] as const] : []));
  }

  clear(): void {
    for (const loans of this.#byKey.values()) for (const loan of loans.values()) loan.isHere = false;
    this.#byKey.clear();
  }
}

function areEqual(one: Fields, other: Fields): boolean {
  return one.length === other.length && one.every((field, at) => other[at]?.equals(field));
}
