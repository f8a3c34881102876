import { expect, it } from 'vitest';
import { saw, times } from '../support/promise.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { broken, check } from './checker.ts';
import { scaleRun } from './scale.ts';

const seed = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000);
const gateways = 8;
const calls = times(1000, 25_000);

await describeWithOwnBroker('nats', 'eight gateways on one JetStream', () => {
  it(
    'divide the work, run each invocation once, and lose nothing when one of them is killed (P2)',
    { timeout: times(600_000, 1_800_000) },
    async ({ task }) => {
      const { undisturbed, warmedUpBy, shares, history } = await scaleRun({ seed, gateways, calls });
      expect(broken(check(undisturbed)), `seed ${seed}`).toEqual([]);
      expect(undisturbed.accepted).toHaveLength(warmedUpBy + calls);
      expect(check(undisturbed).duplicates).toBe(0);
      expect(
        shares.filter((share) => share === 0),
        `seed ${seed}: ${shares.join(', ')}`,
      ).toEqual([]);
      expect(broken(check(history)), `seed ${seed}`).toEqual([]);
      expect([history.kills, history.accepted.length]).toEqual([1, warmedUpBy + 2 * calls]);
      const { duplicates, duplicatesAllowed } = check(history);
      const told = `${calls.toLocaleString('en')} accepted by one of ${gateways} gateways, run by them ${shares.join(', ')}, 0 twice`;
      const killed = `as many again and one gateway killed, ${duplicates} duplicates of ${duplicatesAllowed} allowed`;
      saw(task, { seed, result: `${told}; ${killed}; 0 lost` });
    },
  );

  it('are found out when each has a queue of its own', { timeout: 300_000 }, async () => {
    const { shares } = await scaleRun({ seed, gateways: 2, calls: 100, apart: true });
    expect(shares).toEqual([100, 0]);
  });
});
