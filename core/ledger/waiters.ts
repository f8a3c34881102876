interface Wait {
  /** True at the next change, false when the time is over or the signal aborts. */
  readonly changed: Promise<boolean>;
  /** Nobody waits any more. */
  abandon(): void;
}

/** Those who wait for something to happen to a name. */
export class Waiters {
  readonly #waiting = new Map<string, Set<() => void>>();

  wait(name: string, ms: number, signal: AbortSignal): Wait {
    const { promise: changed, resolve } = Promise.withResolvers<boolean>();
    if (ms <= 0 || signal.aborted) {
      resolve(false);
      return { changed, abandon: () => {} };
    }
    const settle = (happened: boolean): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
      const waiting = this.#waiting.get(name);
      waiting?.delete(woken);
      if (waiting?.size === 0) this.#waiting.delete(name);
      resolve(happened);
    };
    const woken = (): void => settle(true);
    const aborted = (): void => settle(false);
    const timer = ms === Infinity ? undefined : setTimeout(settle, Math.min(ms, 2 ** 31 - 1), false);
    signal.addEventListener('abort', aborted, { once: true });
    const waiting = this.#waiting.get(name);
    if (waiting) waiting.add(woken);
    else this.#waiting.set(name, new Set([woken]));
    return { changed, abandon: aborted };
  }

  wake(name: string): void {
    for (const woken of this.#waiting.get(name) ?? []) woken();
  }

  wakeAll(): void {
    for (const name of this.#waiting.keys()) this.wake(name);
  }
}
