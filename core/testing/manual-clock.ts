import type { Clock } from '../contracts/clock.ts';

export interface ManualClock extends Clock {
  advance(ms: number): void;
}

/** A clock that stands still until it is moved on by hand. Both of its times move together. */
export function manualClock(startAt = Date.UTC(2026, 0, 1)): ManualClock {
  let passedMs = 0;
  return {
    now: () => startAt + passedMs,
    monotonic: () => passedMs,
    advance: (ms) => {
      passedMs += ms;
    },
  };
}
