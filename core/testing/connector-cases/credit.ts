import { expect } from 'vitest';
import { quiet, until, type ConnectorCase } from '../connector-trial.ts';

/** Nobody is given more than it asked for. */
export const creditCases: readonly ConnectorCase[] = [
  {
    name: 'gives nothing while there is no credit, and what waited once there is',
    run: async (trial) => {
      const desk = await trial.desk(0);
      const sent = await trial.send(3);
      await desk.expectQuiet();
      if (!trial.traits.waits) return;
      desk.credit.resize(3);
      await trial.expectOnce(await desk.settleUpTo(3, trial.acknowledging), sent);
      await trial.untilLeft(0);
    },
  },
  {
    name: 'never has more unsettled than it took credit for, however much comes',
    run: async (trial) => {
      const limit = 4;
      const desk = await trial.desk(limit);
      const sending = trial.send(60);
      const first = await desk.next(trial.atOnce(limit));
      await desk.expectQuiet();
      expect(desk.unsettled).toBe(trial.atOnce(limit));
      for (const each of first) await desk.settle(each, trial.acknowledging);
      const sent = await sending;
      if (trial.traits.waits) {
        const rest = await desk.settleUpTo(sent.length - first.length, trial.acknowledging, 2);
        await trial.expectOnce([...first, ...rest], sent);
      }
      await trial.untilLeft(0);
      expect(desk.most).toBeLessThanOrEqual(limit);
    },
  },
  {
    name: 'takes nothing more once it is unsubscribed, gives unused credit back, and still settles what it gave',
    run: async (trial) => {
      const desk = await trial.desk(8);
      await trial.send(1);
      const first = await desk.one();
      desk.unsubscribe();
      // A stop waits until no credit is out.
      await until(
        'only the credit of what is unsettled is out',
        () => desk.credit.outstanding === 1,
        () => `${desk.credit.outstanding} are out`,
      );
      const later = await trial.send(3);
      await quiet();
      expect(desk.taken.length, 'given after it was unsubscribed').toBe(1);
      expect(desk.credit.outstanding, 'taken after it was unsubscribed').toBe(1);
      await desk.settle(first, trial.acknowledging);
      expect(desk.credit.outstanding).toBe(0);
      if (trial.traits.handsBack === 'nobody') return trial.untilLeft(0);
      await trial.expectLeft(later.length, 'what came later was taken, or the one before was not acknowledged');
      await desk.stop();
      const heir = await trial.heir(8);
      await trial.expectOnce(await heir.settleUpTo(later.length, trial.acknowledging), later);
    },
  },
];
