import { expect } from 'vitest';
import type { QueueCase } from '../queue-trial.ts';

/** G8: a second message of the same key is the first one, for as long as the window is. */
export const dedupCases: readonly QueueCase[] = [
  {
    name: 'G8: a second message of the key within the window is a duplicate of the first',
    needs: ['dedup'],
    run: async (trial) => {
      const window = { dedupKey: 'order-7', dedupWindowMs: 600_000 };
      const id = await trial.put(window);
      const [again, other, elsewhere] = [
        trial.message(window),
        trial.message({ ...window, dedupKey: 'order-8' }),
        trial.message({ ...window, lane: 'other.default' }),
      ];
      expect(await trial.queue.enqueue([again, other, elsewhere])).toEqual([
        { status: 'duplicate', id },
        { status: 'accepted', id: other.id },
        { status: 'accepted', id: elsewhere.id },
      ]);
      expect(await trial.queue.find(again.id)).toBeUndefined();
      expect(await trial.drain()).toEqual([id, other.id]);
      expect((await trial.lane()).totals.accepted).toBe(2);
    },
  },
  {
    name: 'G8: two of one batch are duplicates as well',
    needs: ['dedup'],
    run: async (trial) => {
      const [first, second] = [1, 2].map(() => trial.message({ dedupKey: 'k', dedupWindowMs: 600_000 }));
      if (!first || !second) throw new Error('two were made');
      expect(await trial.queue.enqueue([first, second])).toEqual([
        { status: 'accepted', id: first.id },
        { status: 'duplicate', id: first.id },
      ]);
    },
  },
  {
    name: 'G8: it stays a duplicate after the first one has finished, however it did',
    needs: ['dedup'],
    run: async (trial) => {
      for (const kind of ['ack', 'cancelled'] as const) {
        const window = { dedupKey: kind, dedupWindowMs: 600_000 };
        const id = await trial.put(window);
        await trial.settle(await trial.one(), { kind });
        expect(await trial.queue.enqueue([trial.message(window)])).toEqual([{ status: 'duplicate', id }]);
      }
      await trial.nothing();
    },
  },
  {
    name: 'G8: after the window it is a message of its own',
    needs: ['dedup'],
    run: async (trial) => {
      const window = { dedupKey: 'k', dedupWindowMs: trial.shortMs };
      const first = await trial.put(window);
      await trial.pass(trial.shortMs);
      const second = await trial.put(window);
      expect(await trial.drain()).toEqual([first, second]);
    },
  },
  {
    name: 'G8: a duplicate does not prolong the window',
    needs: ['dedup', 'advance'],
    run: async (trial) => {
      const window = { dedupKey: 'k', dedupWindowMs: 1000 };
      const first = await trial.put(window);
      await trial.pass(600);
      expect(await trial.queue.enqueue([trial.message(window)])).toEqual([{ status: 'duplicate', id: first }]);
      await trial.pass(400);
      await trial.put(window);
    },
  },
  {
    name: 'G8: of many at once exactly one is accepted',
    needs: ['dedup'],
    run: async (trial) => {
      const window = { dedupKey: 'k', dedupWindowMs: 600_000 };
      const answers = (
        await Promise.all(Array.from({ length: 20 }, () => trial.queue.enqueue([trial.message(window)])))
      ).flat();
      expect(answers.filter(({ status }) => status === 'accepted')).toHaveLength(1);
      expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    },
  },
  {
    name: 'G8: it stays a duplicate over a crash, waiting or finished',
    needs: ['dedup', 'reopen'],
    run: async (trial) => {
      const finished = await trial.put({ dedupKey: 'finished', dedupWindowMs: 600_000 });
      await trial.settle(await trial.one(), { kind: 'ack' });
      const waiting = await trial.put({ dedupKey: 'waiting', dedupWindowMs: 600_000 });
      await trial.reopen();
      const again = ['finished', 'waiting'].map((dedupKey) => trial.message({ dedupKey, dedupWindowMs: 600_000 }));
      expect(await trial.queue.enqueue(again)).toEqual([
        { status: 'duplicate', id: finished },
        { status: 'duplicate', id: waiting },
      ]);
    },
  },
];
