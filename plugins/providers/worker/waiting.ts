import type { Attempt } from './attempt.ts';

/** Attempts in the order they came. Taking from the front costs the same at any length. */
export class Waiting {
  #items: (Attempt | undefined)[] = [];
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(attempt: Attempt): void {
    this.#items.push(attempt);
    this.#length += 1;
  }

  /** Back to the front: they have waited longest. */
  putBack(attempts: readonly Attempt[]): void {
    this.#items.splice(this.#head, 0, ...attempts);
    this.#length += attempts.length;
  }

  /** The one that has waited longest. Those that have been answered meanwhile are passed over. */
  take(): Attempt | undefined {
    while (this.#head < this.#items.length) {
      const attempt = this.#items[this.#head];
      this.#items[this.#head++] = undefined;
      if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
        this.#items = this.#items.slice(this.#head);
        this.#head = 0;
      }
      if (attempt && !attempt.answered) {
        this.#length -= 1;
        return attempt;
      }
    }
    this.#items = [];
    this.#head = 0;
    return undefined;
  }

  /** One of them has been answered where it stood. */
  left(): void {
    this.#length -= 1;
  }

  oldest(): Attempt | undefined {
    for (let index = this.#head; index < this.#items.length; index++) {
      const attempt = this.#items[index];
      if (attempt && !attempt.answered) return attempt;
    }
    return undefined;
  }
}
