import type { Credit } from '../contracts/connector.ts';

interface Waiter {
  grant(): void;
}

/** The credit of one source: at most `limit` unsettled deliveries. First come, first served. */
export class CreditPool implements Credit {
  readonly limit: number;
  #outstanding = 0;
  readonly #waiters = new Set<Waiter>();
  #idle: (() => void)[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  tryTake(): boolean {
    if (this.#outstanding >= this.limit) return false;
    this.#outstanding++;
    return true;
  }

  take(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    if (this.tryTake()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const onAbort = (): void => {
        this.#waiters.delete(waiter);
        resolve(false);
      };
      const waiter: Waiter = {
        grant: () => {
          signal.removeEventListener('abort', onAbort);
          resolve(true);
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  giveBack(): void {
    if (this.#outstanding === 0) throw new Error('a credit was given back that had not been taken');
    for (const waiter of this.#waiters) {
      this.#waiters.delete(waiter);
      waiter.grant(); // From hand to hand, so that nobody can take it in between.
      return;
    }
    this.#outstanding--;
    if (this.#outstanding > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  /** Resolves when nothing is outstanding. */
  whenIdle(): Promise<void> {
    if (this.#outstanding === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }
}
