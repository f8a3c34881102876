import type { DeadLetterFilter } from '../contracts/queue.ts';
import type { LedgerLane } from './lane.ts';
import type { Letter } from './records.ts';
import type { Usage } from './usage.ts';

/** What was given up, in the order of dying. */
export class Letters {
  readonly #kept = new Map<string, Letter>();
  readonly #usage: Usage;
  readonly #lane: (name: string) => LedgerLane;
  /** Of the next letter. */
  number = 0;

  constructor(usage: Usage, lane: (name: string) => LedgerLane) {
    this.#usage = usage;
    this.#lane = lane;
  }

  get size(): number {
    return this.#kept.size;
  }

  values(): MapIterator<Letter> {
    return this.#kept.values();
  }

  get(id: string): Letter | undefined {
    return this.#kept.get(id);
  }

  /** Gives it the next number, unless it has one. */
  add(unnumbered: Omit<Letter, 'number'> & { readonly number?: number }): void {
    const letter: Letter = { ...unnumbered, number: unnumbered.number ?? this.number++ };
    this.#kept.set(letter.record.id, letter);
    this.#usage.retain(letter.ref);
    this.#lane(letter.record.lane).letters++;
  }

  remove(id: string): boolean {
    const letter = this.#kept.get(id);
    if (!letter) return false;
    this.#kept.delete(id);
    this.#usage.release(letter.ref);
    this.#lane(letter.record.lane).letters--;
    return true;
  }

  /** Newest first, from below that number on. */
  list(filter: DeadLetterFilter, limit: number, below: number): { items: Letter[]; more: boolean } {
    const items: Letter[] = [];
    for (const letter of [...this.#kept.values()].toReversed()) {
      if (letter.number >= below || !fits(letter, filter)) continue;
      if (items.length === limit) return { items, more: true };
      items.push(letter);
    }
    return { items, more: false };
  }

  purge(filter: DeadLetterFilter & { readonly id?: string | undefined }): number {
    let purged = 0;
    const candidates = filter.id === undefined ? [...this.#kept.values()] : [this.#kept.get(filter.id)];
    for (const letter of candidates) {
      if (letter && fits(letter, filter) && this.remove(letter.record.id)) purged++;
    }
    return purged;
  }
}

function fits({ record: { lane }, reason }: Letter, filter: DeadLetterFilter): boolean {
  return (
    (filter.lane === undefined || filter.lane === lane) && (filter.reason === undefined || filter.reason === reason)
  );
}
