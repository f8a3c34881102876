import type { Upstream } from './upstreams.ts';

/** A place among several that do the same. */
export interface Place extends Upstream {
  /** Attempts that it has been given and that have not ended; counted by its `Balance`. */
  inFlight: number;
  /** It may be given calls. */
  readonly available: boolean;
}

/** Which of several places gets a call: the one with the fewest, and of several such each in turn. */
export class Balance<Each extends Place> {
  places: readonly Each[];
  #turn = 0;
  #inFlight = 0;
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(places: readonly Each[] = []) {
    this.places = places;
  }

  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /** Undefined when none is available but those `tried`. `giveBack` when the call has ended. */
  take(tried?: readonly Upstream[]): Each | undefined {
    const { places } = this;
    const { length } = places;
    let found: Each | undefined;
    const turn = this.#turn++ % length;
    for (let step = 0; step < length; step++) {
      const each = places[(turn + step) % length];
      if (!each?.available || tried?.includes(each)) continue;
      if (!found || each.inFlight < found.inFlight) found = each;
    }
    if (found) {
      found.inFlight++;
      this.#inFlight++;
    }
    return found;
  }

  giveBack(place: Each): void {
    place.inFlight--;
    if (--this.#inFlight === 0) this.#closing?.resolve();
  }

  /** Resolves once all that were taken have been given back. */
  close(): Promise<void> {
    this.#closing ??= Promise.withResolvers<void>();
    if (this.#inFlight === 0) this.#closing.resolve();
    return this.#closing.promise;
  }
}

/** Whole seconds from `now` to the first of these times, and at least one. Monotonic ms. */
export function secondsUntil(times: readonly number[], now: number): number {
  const next = Math.min(...times);
  return Number.isFinite(next) ? Math.max(1, Math.ceil((next - now) / 1000)) : 1;
}
