import type { Clock } from '../contracts/clock.ts';

export interface ManualClock extends Clock {
  /** Lets time pass. */
  advance(ms: number): void;
  /** Sets the wall clock forward or back, as somebody may at any time. */
  jump(ms: number): void;
}

/** A clock that stands still until it is moved on by hand. */
export function manualClock(startAt = Date.UTC(2026, 0, 1)): ManualClock {
  let passedMs = 0;
  let jumpedMs = 0;
  return {
    now: () => startAt + passedMs + jumpedMs,
    monotonic: () => passedMs,
    advance: (ms) => {
      passedMs += ms;
    },
    jump: (ms) => {
      jumpedMs += ms;
    },
  };
}
