import type { Delivery } from '../../core/contracts/delivery.ts';
import type { Fields } from './entry.ts';
import type { Entry } from './group.ts';

/** An entry that the group has lent us. Given again while it is here, it is the same loan, with another count. */
export interface Loan extends Omit<Entry, 'count'> {
  /** How often the group has given it. */
  count: number;
  /** Set once it has been emitted. */
  delivery: Delivery | undefined;
}

/** The entries that are here, by stream. */
export class Loans {
  readonly #byKey = new Map<string, Map<string, Loan>>();

  /** Whether it had not been here. */
  add({ key, id, count, fields }: Entry): boolean {
    const ofKey = this.#byKey.get(key) ?? new Map<string, Loan>();
    this.#byKey.set(key, ofKey);
    const present = ofKey.get(id);
    // In a stream that was made anew another entry may have its id: then what is here is the loan of nothing.
    const isSame = present !== undefined && areEqual(present.fields, fields);
    if (isSame) present.count = count;
    else ofKey.set(id, { key, id, count, fields, delivery: undefined });
    return !isSame;
  }

  find(key: string, id: string): Loan | undefined {
    return this.#byKey.get(key)?.get(id);
  }

  has(loan: Loan): boolean {
    return this.find(loan.key, loan.id) === loan;
  }

  delete(loan: Loan): void {
    if (this.has(loan)) this.#byKey.get(loan.key)?.delete(loan.id);
  }

  idsOf(key: string): Iterable<string> {
    return this.#byKey.get(key)?.keys() ?? [];
  }

  /** As they are now. */
  byKey(): readonly (readonly [key: string, loans: readonly Loan[]])[] {
    return [...this.#byKey].flatMap(([key, loans]) => (loans.size > 0 ? [[key, [...loans.values()]] as const] : []));
  }

  clear(): void {
    this.#byKey.clear();
  }
}

function areEqual(one: Fields, other: Fields): boolean {
  return one.length === other.length && one.every((field, at) => other[at]?.equals(field));
}
