const dayMs = 86_400_000;

/** Whether it is an IANA name that this Node knows. */
export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/**
 * Instants and the local times of one zone. A local time is written as the instant at which UTC shows the same time, so
 * that both are plain milliseconds.
 */
export class Zone {
  readonly #format: Intl.DateTimeFormat | undefined;

  constructor(name: string) {
    const utc = name === 'UTC' || name === 'Etc/UTC';
    this.#format = utc
      ? undefined
      : new Intl.DateTimeFormat('en-US', {
          timeZone: name,
          hourCycle: 'h23',
          year: 'numeric',
          month: 'numeric',
          day: 'numeric',
          hour: 'numeric',
          minute: 'numeric',
          second: 'numeric',
        });
  }

  localOf(instant: number): number {
    return instant + this.#offset(instant);
  }

  /**
   * The first instant that shows the local time. One that a change of the clocks leaves out stands for the instant of
   * that change. Never goes back for a later local time.
   */
  instantOf(local: number): number {
    if (!this.#format) return local;
    // Zones change days or months apart, so these lie on either side of a change near the local time, if there is one.
    const before = this.#offset(local - 2 * dayMs);
    const after = this.#offset(local + 2 * dayMs);
    const first = Math.min(local - before, local - after);
    if (this.localOf(first) === local) return first;
    const second = Math.max(local - before, local - after);
    if (this.localOf(second) === local) return second;
    return this.changeBetween(local - 2 * dayMs, local + 2 * dayMs);
  }

  /** `2026-12-25` */
  dateOf(instant: number): string {
    return new Date(this.localOf(instant)).toISOString().slice(0, 10);
  }

  /** The first instant of the local day after that of the instant. */
  nextDay(instant: number): number {
    return this.instantOf((Math.floor(this.localOf(instant) / dayMs) + 1) * dayMs);
  }

  /** The first instant after `from` with another offset; there is one up to `to`. */
  changeBetween(from: number, to: number): number {
    const before = this.#offset(from);
    let low = from;
    let high = to;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (this.#offset(middle) === before) low = middle;
      else high = middle;
    }
    return high;
  }

  #offset(instant: number): number {
    if (!this.#format) return 0;
    const parts: Record<string, number> = {};
    for (const { type, value } of this.#format.formatToParts(instant)) parts[type] = Number(value);
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
    const local = Date.UTC(year, month - 1, day, hour, minute, second);
    return local - Math.floor(instant / 1000) * 1000;
  }
}
