/**
 * How long a call that is begun now may have waited, unseen. All that are ready are begun in one turn of the event loop, so what
 * comes late in a long one has waited for those before it: its caller may have gone, and others wait behind it. While
 * calls are refused for that, it counts too that a call may have come as the turn before had just begun.
 */
export class Turn {
  readonly #limitMs: number;
  #since: number | undefined;
  #refuses = false;
  /** How long the turn before took, if calls were refused in it: a stall by itself says nothing of those who came in it. */
  #beforeMs = 0;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** Whether what is begun now comes too late. */
  isLong(): boolean {
    const now = performance.now();
    if (this.#since === undefined) {
      this.#since = now;
      setImmediate(this.#end); // Runs when all that was ready has been seen.
    }
    const isLong = now - this.#since + this.#beforeMs > this.#limitMs;
    this.#refuses ||= isLong;
    return isLong;
  }

  readonly #end = (): void => {
    if (this.#refuses) {
      this.#beforeMs = performance.now() - (this.#since ?? 0);
      setImmediate(() => (this.#beforeMs = 0)); // Runs when all that was ready in the next one has been seen.
    }
    this.#refuses = false;
    this.#since = undefined;
  };
}
