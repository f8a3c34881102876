import { expect } from 'vitest';
import { type ConnectorCase, type ConnectorTrial, quiet, verdicts } from '../connector-trial.ts';

/** A message is acknowledged when it is safe, by whoever holds it, and not before. */
export const settlementCases: readonly ConnectorCase[] = [
  {
    name: 'acknowledges nothing on receipt: the source keeps it, or its sender waits, until it is settled',
    run: async (trial) => {
      const count = trial.atOnce(3);
      const desk = await trial.desk(count);
      const sent = await trial.send(count);
      const taken = await desk.next(count);
      await trial.expectLeft(count, 'acknowledged before it was settled');
      for (const [index, one] of taken.entries()) {
        await desk.settle(one, trial.acknowledging);
        await trial.untilLeft(count - index - 1);
      }
      await trial.expectOnce(taken, sent);
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'acknowledges what was done, accepted, dead or cancelled',
    run: async (trial) => {
      const desk = await trial.desk(1);
      for (const kind of trial.traits.acknowledges) {
        await trial.send(1);
        const taken = await desk.one();
        await desk.settle(taken, verdicts[kind]);
        await trial.untilLeft(0);
      }
      await desk.expectQuiet();
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'gives again what is to be tried again, after the delay, as the same attempt, and keeps it meanwhile',
    needs: ['settles', 'hands back'],
    run: async (trial) => {
      // With one credit, it has to be taken anew.
      const desk = await trial.desk(1);
      const [text = ''] = await trial.send(1);
      const first = await desk.one();
      const settledAt = performance.now();
      await desk.settle(first, verdicts.retry);
      const again = await desk.one();
      // Half of it, because a source may round; that it does not come at once is what keeps a loop from being hot.
      expect(again.atMs - settledAt).toBeGreaterThan(100);
      expect(again.delivery).not.toBe(first.delivery);
      expect(again.delivery.request.attempt).toBe(first.delivery.request.attempt);
      expect(again.header('ce-id')).toEqual(first.header('ce-id'));
      if (trial.traits.carries) expect(await again.text()).toBe(text);
      await desk.settle(again, verdicts.retry);
      const third = await desk.one();
      await trial.expectLeft(1, 'acknowledged though it was to be tried again');
      expect(third.delivery.request.attempt).toBe(first.delivery.request.attempt);
      await desk.settle(third, trial.acknowledging);
      await desk.expectQuiet();
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'lets others go on while one waits to be tried again',
    needs: ['settles', 'hands back', 'several at once'],
    run: async (trial) => {
      const desk = await trial.desk(2);
      const sent = await trial.send(1);
      const first = await desk.one();
      await desk.settle(first, { ...verdicts.retry, delayMs: 1000 } as typeof verdicts.retry);
      sent.push(...(await trial.send(5)));
      await trial.expectOnce(await desk.settleUpTo(6, trial.acknowledging), sent);
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'is settled twice without harm',
    run: async (trial) => {
      const desk = await trial.desk(8);
      await trial.send(1);
      const taken = await desk.one();
      await desk.settle(taken, trial.acknowledging);
      for (const late of lateWords(trial)) await desk.say(taken, late);
      await desk.expectQuiet();
      // It is still there: some sources end the connection of whoever says a thing twice.
      const sent = await trial.send(5);
      await trial.expectOnce(await desk.settleUpTo(5, trial.acknowledging), sent);
      expect(desk.connector.health().state).toBe('running');
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'changes nothing by a word for what was taken from it, and acknowledges when the present holder says so',
    needs: ['fences', 'left', 'lose'],
    run: async (trial) => {
      const desk = await trial.desk(4);
      const sent = await trial.send(2);
      const old = await desk.next(2);
      await trial.bench.lose?.(0);
      const present = await desk.next(2);
      await trial.expectOnce(present, sent);
      for (const one of old) await desk.settle(one, trial.acknowledging);
      for (const one of old) for (const late of lateWords(trial)) await desk.say(one, late);
      await desk.expectQuiet();
      await trial.expectLeft(2, 'acknowledged by one who had lost it');
      for (const one of present) await desk.settle(one, trial.acknowledging);
      const more = await trial.send(3);
      await trial.expectOnce(await desk.settleUpTo(3, trial.acknowledging), more);
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'tries nothing again that was taken from it before its delay was over',
    needs: ['settles', 'fences', 'left', 'lose'],
    run: async (trial) => {
      const desk = await trial.desk(4);
      const sent = await trial.send(1);
      const old = await desk.one();
      await desk.settle(old, { ...verdicts.retry, delayMs: 1500 } as typeof verdicts.retry);
      await trial.bench.lose?.(0);
      const present = await desk.one();
      await trial.expectOnce([present], sent);
      await quiet();
      await desk.settle(present, trial.acknowledging);
      await trial.untilLeft(0);
      await new Promise((resolve) => setTimeout(resolve, 1700));
      expect(await trial.names(desk.taken), 'given again though it had been acknowledged').toEqual([...sent, ...sent]);
    },
  },
];

/** What may be said of a message once more, and must not matter. */
function lateWords({ traits }: ConnectorTrial): (typeof verdicts)[keyof typeof verdicts][] {
  const retry = traits.settlement === 'settles' ? [verdicts.retry] : [];
  return [...traits.acknowledges.map((kind) => verdicts[kind]), ...retry];
}
