import { expect } from 'vitest';
import { idOf, type QueueCase, type QueueTrial } from '../queue-trial.ts';

const error = { code: 'function.failed', message: 'no' };

/** G7: with an order key, one at a time and in the order of enqueueing, whatever happens to the first one. */
export const orderCases: readonly QueueCase[] = [
  {
    name: 'G7: only one of each key is out at a time; other keys and messages without one are not held up',
    run: async (trial) => {
      const [a1, a2] = await keyed(trial, 'a', 2);
      const [b1] = await keyed(trial, 'b', 2);
      const free = [await trial.put(), await trial.put()];
      const leases = await trial.take(10);
      expect(leases.map(idOf)).toEqual([a1, b1, ...free]);
      expect(await trial.lane()).toMatchObject({ leased: 4, blocked: 2, ready: 0 });
      expect(await trial.state(a2 ?? '')).toBe('queued');
      await trial.nothing();
    },
  },
  {
    name: 'G7: the same key in two lanes is two keys',
    run: async (trial) => {
      const here = await trial.put({ orderKey: 'k' });
      const there = await trial.put({ orderKey: 'k', lane: 'other.default' });
      expect((await trial.take(9)).map(idOf)).toEqual([here]);
      expect((await trial.take(9, { lane: 'other.default' })).map(idOf)).toEqual([there]);
    },
  },
  {
    name: 'G7: first in first out, whatever the priorities',
    run: async (trial) => {
      const ids = [];
      for (const priority of [1, 9, 5, 0]) ids.push(await trial.put({ orderKey: 'k', priority }));
      expect(await trial.drain()).toEqual(ids);
    },
  },
  {
    name: 'G7: a retry of the first one is not overtaken',
    run: async (trial) => {
      const [first, second] = await keyed(trial, 'k', 2);
      for (let attempt = 1; attempt <= 3; attempt++) {
        const lease = await trial.one();
        expect([idOf(lease), lease.attempt]).toEqual([first, attempt]);
        await trial.settle(lease, { kind: 'retry', delayMs: 0, counted: true });
        expect(await trial.lane()).toMatchObject({ ready: 1, blocked: 1 });
      }
      expect((await trial.take(9)).map(idOf)).toEqual([first]);
      await trial.nothing();
      expect(await trial.queue.cancel(second ?? '')).toBe('cancelled');
    },
  },
  {
    name: 'G7: the first one is not overtaken while it waits for its retry',
    needs: ['delay'],
    run: async (trial) => {
      const ids = await keyed(trial, 'k', 2);
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: trial.shortMs });
      expect((await trial.take(9)).map(idOf)).not.toContain(ids[1]);
      expect(await trial.lane()).toMatchObject({ blocked: 1 });
      await trial.pass(trial.shortMs);
      expect(await trial.drain()).toEqual(ids);
    },
  },
  {
    name: 'G7: the first one is not overtaken while it is delayed',
    needs: ['delay'],
    run: async (trial) => {
      const head = await trial.put({ orderKey: 'k', delayMs: trial.shortMs });
      const next = await trial.put({ orderKey: 'k' });
      expect((await trial.take(9)).map(idOf)).not.toContain(next);
      await trial.pass(trial.shortMs);
      expect(await trial.drain()).toEqual([head, next]);
    },
  },
  {
    name: 'G7: the first one is not overtaken when its lease runs out',
    run: async (trial) => {
      const ids = await keyed(trial, 'k', 2);
      await trial.one({ ttlMs: trial.shortMs });
      await trial.pass(trial.shortMs);
      expect(await trial.drain()).toEqual(ids);
    },
  },
  {
    name: 'G7: a delay of one that waits behind another still holds once it is its turn',
    needs: ['delay', 'advance'],
    run: async (trial) => {
      await trial.put({ orderKey: 'k' });
      const next = await trial.put({ orderKey: 'k', delayMs: 5000 });
      expect(await trial.lane()).toMatchObject({ ready: 1, blocked: 1, delayed: 0 });
      await trial.settle(await trial.one(), { kind: 'ack' });
      expect(await trial.lane()).toMatchObject({ ready: 0, blocked: 0, delayed: 1 });
      await trial.nothing();
      await trial.pass(5000);
      expect(await trial.drain()).toEqual([next]);
    },
  },
  ...endings().map(([how, end]): QueueCase => ({
    name: `G7: the next one goes when the first one ${how}`,
    run: async (trial) => {
      const [first = '', second] = await keyed(trial, 'k', 3);
      await end(trial, first);
      expect(await trial.lane()).toMatchObject({ ready: 1, blocked: 1, leased: 0, delayed: 0 });
      expect((await trial.take(9)).map(idOf)).toEqual([second]);
      await trial.nothing();
    },
  })),
  {
    name: 'G7: one that ends while it waits in the middle is passed over',
    run: async (trial) => {
      const [first, second = '', third] = await keyed(trial, 'k', 3);
      expect(await trial.queue.cancel(second)).toBe('cancelled');
      expect(await trial.lane()).toMatchObject({ ready: 1, blocked: 1 });
      expect(await trial.drain()).toEqual([first, third]);
    },
  },
  {
    name: 'G7: a replayed letter goes behind what waits of its key',
    needs: ['deadLetters'],
    run: async (trial) => {
      const [first = '', second, third] = await keyed(trial, 'k', 3);
      await trial.kill(first);
      const { id } = trial.message();
      expect(await trial.queue.deadLetters.replay(first, { id })).toBe(true);
      expect(await trial.drain()).toEqual([second, third, id]);
    },
  },
  {
    name: 'G7: order is kept over a crash, also of the one that was running',
    needs: ['reopen'],
    run: async (trial) => {
      const ids = await keyed(trial, 'k', 4);
      await trial.settle(await trial.one(), { kind: 'ack' });
      await trial.one({ ttlMs: trial.leftMs });
      await trial.takeOver();
      expect(await trial.lane()).toMatchObject({ ready: 1, blocked: 2 });
      expect(await trial.drain()).toEqual(ids.slice(1));
    },
  },
];

async function keyed(trial: QueueTrial, orderKey: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let number = 0; number < count; number++) ids.push(await trial.put({ orderKey, maxAttempts: 5 }));
  return ids;
}

function endings(): [string, (trial: QueueTrial, id: string) => Promise<void>][] {
  return [
    ['succeeds', async (trial) => trial.settle(await trial.one(), { kind: 'ack' })],
    ['is dead', async (trial) => trial.settle(await trial.one(), { kind: 'dead', reason: 'permanent', error })],
    ['is settled as cancelled', async (trial) => trial.settle(await trial.one(), { kind: 'cancelled' })],
    ['is cancelled while it waits', async (trial, id) => expect(await trial.queue.cancel(id)).toBe('cancelled')],
    [
      'is cancelled while it runs and then fails',
      async (trial, id) => {
        const lease = await trial.one();
        expect(await trial.queue.cancel(id)).toBe('running');
        await trial.settle(lease, { kind: 'retry', delayMs: 0, error });
      },
    ],
  ];
}
