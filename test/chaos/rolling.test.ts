import { expect, it } from 'vitest';
import { saw, times } from '../support/promise.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { redis } from './queues.ts';
import { rollingRestart, rollSummary } from './rolling.ts';

const rolls = times(3, 20);

await describeWithOwnBroker('redis', 'three gateways that are replaced one after the other under load', () => {
  it(
    'fails no call, repeats none, and each ends in time (P20)',
    { timeout: times(180_000, 900_000) },
    async ({ task }) => {
      const seen = await rollingRestart(redis, rolls);
      saw(task, { result: rollSummary(seen, rolls) });
      const { answered, accepted, slowestStopMs, ...wrong } = seen;
      expect(wrong).toEqual({ failed: [], lost: [], repeated: [], complaints: [] });
      expect(Math.min(answered, accepted)).toBeGreaterThan(20 * rolls);
      expect(slowestStopMs).toBeLessThan(20_000);
    },
  );

  it('is caught when a stop breaks off what is in flight', { timeout: 180_000 }, async () => {
    expect((await rollingRestart(redis, 1, 'stop-breaks-off')).failed).not.toEqual([]);
  });
});
