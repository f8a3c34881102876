/**
 * How long the present turn of the event loop has been at calls. All that are ready are begun in one turn, so that what
 * comes late in a long one has waited that long, unseen: its caller may have gone, and others wait behind it.
 */
export class Turn {
  readonly #limitMs: number;
  #since: number | undefined;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** Whether what is begun now comes too late in it. */
  isLong(): boolean {
    const now = performance.now();
    if (this.#since !== undefined) return now - this.#since > this.#limitMs;
    this.#since = now;
    setImmediate(() => (this.#since = undefined)); // Runs when all that was ready has been seen.
    return false;
  }
}
