import { expect } from 'vitest';
import { idOf, type QueueCase, type QueueTrial } from '../queue-trial.ts';

/** G5: nothing comes before its time. */
export const timeCases: readonly QueueCase[] = [
  {
    name: 'G5: a delayed message is not leased before its time, and is leased then',
    needs: ['delay'],
    run: async (trial) => {
      const sent = performance.now();
      const id = await trial.put({ delayMs: trial.shortMs });
      const now = await trial.put();
      if (trial.bench.advance) {
        const record = await trial.record(id);
        expect(record).toMatchObject({ state: 'delayed', attempt: 0 });
        expect(record.dueAt).toBeTypeOf('number');
        expect(await trial.lane()).toMatchObject({ delayed: 1, ready: 1 });
        await trial.pass(trial.shortMs - 1);
        expect(await trial.drain()).toEqual([now]);
        await trial.pass(1);
        expect(await trial.lane()).toMatchObject({ delayed: 0, ready: 1 });
      } else {
        expect(idOf(await trial.one())).toBe(now);
      }
      expect(idOf(await trial.one())).toBe(id);
      expectNotEarly(trial, sent);
    },
  },
  {
    name: 'G5: a retry is not leased before its delay has passed',
    needs: ['delay'],
    run: async (trial) => {
      const id = await trial.put();
      const lease = await trial.one();
      const sent = performance.now();
      await trial.settle(lease, { kind: 'retry', delayMs: trial.shortMs });
      if (trial.bench.advance) {
        const record = await trial.record(id);
        expect(record).toMatchObject({ state: 'failed', attempt: 1 });
        expect(record.dueAt).toBeTypeOf('number');
        await trial.pass(trial.shortMs - 1);
        await trial.nothing();
        await trial.pass(1);
      }
      expect((await trial.one()).attempt).toBe(2);
      expectNotEarly(trial, sent);
    },
  },
  {
    name: 'G5: somebody who sets the wall clock ends no lease and no delay, and holds none up',
    needs: ['delay', 'advance', 'jump'],
    run: async (trial) => {
      for (const jumpMs of [3_600_000, -7_200_000]) {
        await trial.put();
        const lease = await trial.one({ ttlMs: trial.shortMs });
        const delayed = await trial.put({ delayMs: trial.shortMs });
        trial.bench.jump?.(jumpMs);
        await trial.nothing();
        expect(await trial.queue.extend(lease.receipt, trial.shortMs)).toBe('settled');
        await trial.pass(trial.shortMs - 1);
        await trial.settle(lease, { kind: 'ack' });
        await trial.nothing();
        await trial.pass(1);
        expect(await trial.drain()).toEqual([delayed]);
      }
    },
  },
  {
    name: 'G5: delays are kept over a crash',
    needs: ['delay', 'reopen', 'advance'],
    run: async (trial) => {
      const id = await trial.put({ delayMs: 1000 });
      const retried = await trial.put();
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: 2000 });
      await trial.pass(400);
      await trial.reopen();
      await trial.nothing();
      await trial.pass(599);
      await trial.nothing();
      await trial.pass(1);
      expect(await trial.drain()).toEqual([id]);
      await trial.pass(999);
      await trial.nothing();
      await trial.pass(1);
      expect(await trial.drain()).toEqual([retried]);
    },
  },
  {
    name: 'G5: what is due first comes first, however it was enqueued',
    needs: ['delay', 'advance'],
    run: async (trial) => {
      const late = await trial.put({ delayMs: 3000 });
      const early = await trial.put({ delayMs: 1000 });
      const middle = await trial.put({ delayMs: 2000 });
      await trial.pass(3000);
      expect(await trial.drain()).toEqual([early, middle, late]);
    },
  },
];

/** On real time only: a clock moved by hand has been asked exactly. */
function expectNotEarly(trial: QueueTrial, since: number): void {
  // A timer may be a millisecond early against the clock that it is measured with.
  if (!trial.bench.advance) expect(performance.now() - since).toBeGreaterThanOrEqual(trial.shortMs - 2);
}
