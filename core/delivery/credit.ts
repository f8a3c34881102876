import type { Credit } from '../contracts/connector.ts';

interface Waiter {
  grant(): void;
}

/** The credit of one source: at most `limit` unsettled deliveries. First come, first served. */
export class CreditPool implements Credit {
  #limit: number;
  #outstanding = 0;
  readonly #waiters = new Set<Waiter>();
  #idle: (() => void)[] = [];
  /** Called when there may be more of it to take. */
  onChange: (() => void) | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get limit(): number {
    return this.#limit;
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  tryTake(): boolean {
    if (this.#outstanding >= this.#limit) return false;
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
    this.#outstanding--;
    this.#serve();
    if (this.#outstanding > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  /** A smaller limit takes nothing away; it holds for what is taken from now on. */
  resize(limit: number): void {
    this.#limit = limit;
    this.#serve();
  }

  /** Resolves when nothing is outstanding. */
  whenIdle(): Promise<void> {
    if (this.#outstanding === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #serve(): void {
    this.onChange?.();
    for (const waiter of this.#waiters) {
      if (this.#outstanding >= this.#limit) return;
      this.#waiters.delete(waiter);
      this.#outstanding++;
      waiter.grant();
    }
  }
}

/**
 * The credit of a lane, which finds out how much its function takes: a 429 halves it, what succeeds lets it grow by one
 * for as many as it has, up to the most that the policy allows (additive increase, multiplicative decrease, as TCP has it: RFC 5681).
 */
export class PacedCredit extends CreditPool {
  #most: number;
  #pace: number;
  #slowedAt = -Infinity;

  constructor(most: number) {
    super(most);
    this.#most = most;
    this.#pace = most;
  }

  /** Sets the most. */
  override resize(most: number): void {
    this.#pace = this.#pace >= this.#most ? most : Math.min(this.#pace, most);
    this.#most = most;
    super.resize(Math.floor(this.#pace));
  }

  /** An attempt that began then was refused: others of the same burst say nothing more. Monotonic ms. */
  refused(beganAt: number, now: number): void {
    if (beganAt < this.#slowedAt) return;
    this.#slowedAt = now;
    this.#pace = Math.max(1, Math.floor(this.#pace / 2));
    super.resize(this.#pace);
  }

  succeeded(): void {
    if (this.#pace >= this.#most) return;
    this.#pace = Math.min(this.#most, this.#pace + 1 / this.#pace);
    super.resize(Math.floor(this.#pace));
  }
}
