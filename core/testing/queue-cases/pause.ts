import { expect } from 'vitest';
import { idOf, type QueueCase } from '../queue-trial.ts';

/** G12: a lane can be held, and looking at it changes nothing. */
export const pauseCases: readonly QueueCase[] = [
  {
    name: 'G12: a paused lane gives nothing and takes everything; other lanes go on',
    needs: ['pause'],
    run: async (trial) => {
      const before = await trial.put();
      await trial.queue.pause('work.default');
      const meanwhile = await trial.put();
      await trial.put({ lane: 'other.default' });
      await trial.nothing();
      expect(await trial.lane()).toMatchObject({ paused: true, ready: 2 });
      expect(await trial.take(9, { lane: 'other.default' })).toHaveLength(1);
      await trial.queue.resume('work.default');
      expect(await trial.lane()).toMatchObject({ paused: false });
      const leases = await trial.take(9);
      expect(leases.map(({ message, attempt }) => [message.id, attempt])).toEqual([
        [before, 1],
        [meanwhile, 1],
      ]);
    },
  },
  {
    name: 'G12: what was leased before the pause can be settled and extended during it',
    needs: ['pause'],
    run: async (trial) => {
      const ids = [await trial.put(), await trial.put(), await trial.put()];
      const [a, b, c] = await trial.take(3);
      if (!a || !b || !c) throw new Error('three were put');
      await trial.queue.pause('work.default');
      expect(await trial.queue.extend(a.receipt, 60_000)).toBe('settled');
      await trial.settle(a, { kind: 'ack' });
      await trial.settle(b, { kind: 'retry', delayMs: 0 });
      await trial.settle(c, { kind: 'retry', delayMs: 0, counted: false });
      await trial.nothing();
      await trial.queue.resume('work.default');
      expect(await trial.drain()).toEqual(ids.slice(1));
    },
  },
  {
    name: 'G12: pausing twice is pausing once, and a lane can be paused before it holds anything',
    needs: ['pause'],
    run: async (trial) => {
      await trial.queue.pause('work.default');
      await trial.queue.pause('work.default');
      const id = await trial.put();
      await trial.nothing();
      await trial.queue.resume('work.default');
      await trial.queue.resume('work.default');
      expect(await trial.drain()).toEqual([id]);
    },
  },
  {
    name: 'G12: a pause, and its end, survive a crash',
    needs: ['pause', 'reopen'],
    run: async (trial) => {
      const id = await trial.put();
      await trial.queue.pause('work.default');
      await trial.reopen();
      expect((await trial.lane()).paused).toBe(true);
      await trial.nothing();
      await trial.queue.resume('work.default');
      await trial.reopen();
      expect(await trial.drain()).toEqual([id]);
    },
  },
  {
    name: 'G12: looking at a lane tells what waits, how much and how long, and changes nothing',
    needs: ['advance'],
    run: async (trial) => {
      const ids = [await trial.put({ text: '12345' }), await trial.put({ text: '123' })];
      await trial.pass(700);
      await trial.put({ delayMs: 10_000, text: '' });
      for (let round = 0; round < 3; round++) {
        expect(await trial.lane()).toMatchObject({ ready: 2, delayed: 1, leased: 0, oldestReadyAgeMs: 700, dead: 0 });
        for (const id of ids) expect(await trial.record(id)).toMatchObject({ attempt: 0, state: 'queued' });
      }
      expect((await trial.lane()).bytes).toBe(8);
      expect((await trial.take(9)).map(idOf)).toEqual(ids);
      expect(await trial.lane()).toMatchObject({ oldestReadyAgeMs: 0, ready: 0 });
    },
  },
];
