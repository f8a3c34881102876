import type { ConsumeMessage } from 'amqplib';
import type { SourceMessage } from '../../core/contracts/message.ts';
import { fingerprintOf } from './message.ts';

/** What is known of a message that was given. */
interface Given {
  readonly message: ConsumeMessage;
  readonly source: SourceMessage;
}

/**
 * What runs although the broker has taken its message back: the channel was lost, or closed because the function takes
 * longer than the broker waits. When the same message is given again, it need not run again: the run is that of the new
 * one. Of messages that nobody can tell from each other, each run still counts for one.
 */
export class Orphans<Loan extends Given> {
  readonly #byKey = new Map<string, Set<Loan>>();
  readonly #keys = new Map<Loan, string>();

  add(loan: Loan): void {
    const key = keyOf(loan);
    this.#keys.set(loan, key);
    const alike = this.#byKey.get(key);
    if (alike) alike.add(loan);
    else this.#byKey.set(key, new Set([loan]));
  }

  /** The run of a message that is given again, which is no orphan any more. */
  claim(given: Given): Loan | undefined {
    if (this.#keys.size === 0) return undefined;
    const [loan] = this.#byKey.get(keyOf(given)) ?? [];
    if (loan) this.remove(loan);
    return loan;
  }

  /** To be called when it ends. Returns whether it was one. */
  remove(loan: Loan): boolean {
    const key = this.#keys.get(loan);
    if (key === undefined) return false;
    this.#keys.delete(loan);
    const alike = this.#byKey.get(key);
    alike?.delete(loan);
    if (alike?.size === 0) this.#byKey.delete(key);
    return true;
  }

  /** None of what is given from now on is one of these. */
  clear(): void {
    this.#byKey.clear();
    this.#keys.clear();
  }
}

function keyOf({ message, source }: Given): string {
  return source.dedupId ?? fingerprintOf(message);
}
