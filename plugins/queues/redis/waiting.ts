/** Those who wait for a change of something that has a name. A change between two waits is not missed. */
export class Waiting {
  readonly #waiters = new Map<string, Set<Waiter>>();

  get names(): string[] {
    return [...this.#waiters.keys()];
  }

  get size(): number {
    return this.#waiters.size;
  }

  /** From now on changes are noticed, until `done`. The signal counts as one. */
  begin(name: string, signal: AbortSignal): Waiter {
    const waiters = this.#waiters.get(name) ?? new Set();
    this.#waiters.set(name, waiters);
    const waiter = new Waiter(signal, () => {
      waiters.delete(waiter);
      if (waiters.size === 0 && this.#waiters.get(name) === waiters) this.#waiters.delete(name);
    });
    waiters.add(waiter);
    return waiter;
  }

  wake(name: string): void {
    for (const waiter of this.#waiters.get(name) ?? []) waiter.wake();
  }

  wakeAll(): void {
    for (const name of this.names) this.wake(name);
  }
}

export class Waiter {
  readonly #signal: AbortSignal;
  readonly #end: () => void;
  readonly #wake = (): void => this.wake();
  #changed = false;
  #resolve: (() => void) | undefined;

  constructor(signal: AbortSignal, end: () => void) {
    this.#signal = signal;
    this.#end = end;
    signal.addEventListener('abort', this.#wake, { once: true });
  }

  /** Resolves at the next change, or at once if there was one since the last time. */
  async change(): Promise<void> {
    if (!this.#changed) await new Promise<void>((resolve) => (this.#resolve = resolve));
    this.#changed = false;
  }

  wake(): void {
    this.#changed = true;
    this.#resolve?.();
    this.#resolve = undefined;
  }

  done(): void {
    this.#signal.removeEventListener('abort', this.#wake);
    this.#end();
  }
}
