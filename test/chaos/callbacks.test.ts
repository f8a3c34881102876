import { expect, it } from 'vitest';
import { saw, seed, times } from '../support/promise.ts';
import { callbackRun } from './callbacks.ts';

it(
  'every callback reaches a receiver that refuses some, over kills of the gateway, within its attempts (P23)',
  { timeout: 600_000 },
  async ({ task }) => {
    const { accepted, kills, missing, tooMany, repeated, forged } = await callbackRun({
      seed,
      waves: times(1, 40),
      calls: 300,
      kills: 2,
    });
    const result = `${accepted} accepted, ${kills} kills, ${missing.length} callbacks missing, ${repeated} repeated`;
    saw(task, { seed, result });
    expect({ missing, tooMany, forged }, `seed ${seed}`).toEqual({ missing: [], tooMany: [], forged: 0 });
    expect(kills).toBeGreaterThanOrEqual(2);
    // So many are sent at once by a gateway.
    expect(repeated).toBeLessThanOrEqual(kills * 32);
  },
);

it('a gateway that tries once only is caught', { timeout: 120_000 }, async () => {
  const { missing } = await callbackRun({ seed, waves: 1, calls: 60, kills: 0, attempts: 1 });
  expect(missing.length).toBeGreaterThan(0);
});
