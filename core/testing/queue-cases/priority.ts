import { expect } from 'vitest';
import type { QueueCase } from '../queue-trial.ts';

/** G6: the higher priority first, but nobody waits for ever. */
export const priorityCases: readonly QueueCase[] = [
  {
    name: 'G6: the highest priority comes first, and first in first out within one',
    needs: ['priority'],
    run: async (trial) => {
      const given = [3, 9, 0, 5, 9, 3, 0, 7];
      const messages = given.map((priority) => trial.message({ priority }));
      await trial.queue.enqueue(messages);
      const expected = messages.toSorted((a, b) => b.priority - a.priority).map(({ id }) => id);
      const leases = await trial.take(8);
      expect(leases.map(({ message }) => message.id)).toEqual(expected);
      expect(leases.map(({ message }) => message.priority)).toEqual([9, 9, 7, 5, 3, 3, 0, 0]);
    },
  },
  {
    name: 'G6: a batch takes the most urgent and leaves the rest',
    needs: ['priority'],
    run: async (trial) => {
      const [low, high] = [await trial.put({ priority: 1 }), await trial.put({ priority: 8 })];
      const [first] = await trial.take(1);
      expect(first?.message.id).toBe(high);
      expect(await trial.drain()).toEqual([low]);
    },
  },
  {
    name: 'G6: the lowest priority goes before a fresh highest one once it has waited nine steps of aging',
    needs: ['priority'],
    settings: { agingStepMs: 50 },
    run: async (trial) => {
      const low = await trial.put({ priority: 0 });
      await trial.pass(9 * 50 + 1);
      const high = await trial.put({ priority: 9 });
      expect(await trial.drain()).toEqual([low, high]);
    },
  },
  {
    name: 'G6: a step of aging is worth one class of priority, not more',
    needs: ['priority', 'advance'],
    settings: { agingStepMs: 1000 },
    run: async (trial) => {
      const four = await trial.put({ priority: 4 });
      await trial.pass(999);
      const five = await trial.put({ priority: 5 });
      expect(await trial.drain()).toEqual([five, four]);
      const three = await trial.put({ priority: 3 });
      await trial.pass(2000);
      // As much in every respect: who came first goes first.
      const fiveAgain = await trial.put({ priority: 5 });
      expect(await trial.drain()).toEqual([three, fiveAgain]);
    },
  },
  {
    name: 'G6: a delayed message ages from the time at which it is due',
    needs: ['priority', 'delay', 'advance'],
    settings: { agingStepMs: 1000 },
    run: async (trial) => {
      const delayed = await trial.put({ priority: 5, delayMs: 5000 });
      await trial.pass(4500);
      const between = await trial.put({ priority: 5 });
      await trial.pass(1000);
      const after = await trial.put({ priority: 5 });
      expect(await trial.drain()).toEqual([between, delayed, after]);
    },
  },
  {
    name: 'G6: a retried message keeps its place',
    run: async (trial) => {
      const [first, second] = [await trial.put(), await trial.put()];
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: 0 });
      expect(await trial.drain()).toEqual([first, second]);
    },
  },
  {
    name: 'G6: priorities and places are kept over a crash',
    needs: ['reopen', 'priority'],
    run: async (trial) => {
      const [a, b, c] = [
        await trial.put({ priority: 2 }),
        await trial.put({ priority: 7 }),
        await trial.put({ priority: 7 }),
      ];
      await trial.reopen();
      const d = await trial.put({ priority: 7 });
      expect(await trial.drain()).toEqual([b, c, d, a]);
    },
  },
];
