import { sleep } from '../contracts/clock.ts';
import type { Credit } from '../contracts/connector.ts';

/** So long is waited for more credit where little has come back yet. */
const gatherMs = 2;

/**
 * As much credit as there is, up to `most`, for one that has been taken already; with a little patience, since what is
 * asked for one by one costs a request each. Returns how many were taken, that one included.
 */
export async function gatherCredit(credit: Credit, most: number, signal: AbortSignal): Promise<number> {
  let taken = 1;
  const take = (): void => {
    while (taken < most && credit.tryTake()) taken++;
  };
  take();
  if (taken >= Math.min(most, credit.limit / 2) || taken === credit.outstanding) return taken;
  await sleep(gatherMs, signal);
  take();
  return taken;
}
