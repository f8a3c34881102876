import { isLinked, Ring, unlink } from '../../../core/kit/ring.ts';
import type { Attempt } from './attempt.ts';

/**
 * The attempts that run in a thread, in the order in which they were begun, which is about that in which they end. A Map that is
 * in use leaves tables behind that keep each other, with the attempts that were in them: once one is in the old generation,
 * each young collection copies half of what calls allocate, until a full one.
 */
export class Running {
  readonly #ring = new Ring<Attempt>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get all(): readonly Attempt[] {
    return this.#ring.items;
  }

  add(attempt: Attempt): void {
    this.#ring.add(attempt);
    this.#size++;
  }

  /** The one that has that number in its thread. */
  get(number: number): Attempt | undefined {
    return this.#ring.find((attempt) => attempt.number === number);
  }

  delete(attempt: Attempt): void {
    if (!isLinked(attempt)) return;
    unlink(attempt);
    this.#size--;
  }
}
