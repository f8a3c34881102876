import { performance } from 'node:perf_hooks'; // Of the global one each look costs a quarter more.

/**
 * The two clocks of the host. Leases, backoff and timeouts are measured on `monotonic`, so that a jump of the wall
 * clock neither expires a lease early nor stalls a retry; schedules and timestamps use `now`.
 */
export interface Clock {
  /** Wall clock, milliseconds since the Unix epoch. May jump. */
  now(): number;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonic(): number;
}

/** The clocks of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/**
 * Resolves after `delayMs` on the monotonic clock, or at once (with `false`) when `signal` aborts.
 * Never rejects: an aborted wait is an expected outcome, not an error.
 */
export function sleep(delayMs: number, signal?: AbortSignal): Promise<boolean> {
  if (signal?.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const timer = setTimeout(done, Math.min(delayMs, 2 ** 31 - 1), true);
    const onAbort = (): void => done(false);
    function done(elapsed: boolean): void {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      resolve(elapsed);
    }
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** As `sleep`, but ends early when what `listen` was given is called, and says whether it was; `listen` returns its end. */
export async function sleepUnless(
  delayMs: number,
  signal: AbortSignal,
  listen: (wake: () => void) => () => void,
): Promise<boolean> {
  const woken = new AbortController();
  const end = listen(() => woken.abort());
  await sleep(delayMs, AbortSignal.any([signal, woken.signal]));
  end();
  return woken.signal.aborted;
}

/**
 * Whether the promise was there in time, as nothing at all is; not so when the signal aborts first. Rejects as the
 * promise does.
 */
export async function within(
  promise: Promise<unknown> | undefined,
  ms: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const { promise: tooLate, resolve } = Promise.withResolvers<false>();
  const giveUp = (): void => resolve(false);
  const timer = setTimeout(giveUp, Math.min(ms, 2 ** 31 - 1));
  if (signal?.aborted) giveUp();
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([Promise.resolve(promise).then(() => true), tooLate]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}
