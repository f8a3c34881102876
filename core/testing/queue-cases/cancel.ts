import { expect } from 'vitest';
import type { QueueCase, QueueTrial } from '../queue-trial.ts';

const error = { code: 'function.failed', message: 'no' };

/** What was cancelled never runs again. */
export const cancelCases: readonly QueueCase[] = [
  {
    name: 'cancel: one that waits, in whichever way, never runs and leaves no letter',
    needs: ['cancel', 'delay'],
    run: async (trial) => {
      const retrying = await trial.put();
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: 60_000, error });
      const head = await trial.put({ orderKey: 'k' });
      const blocked = await trial.put({ orderKey: 'k' });
      const delayed = await trial.put({ delayMs: 60_000 });
      const queued = await trial.put();
      for (const id of [queued, delayed, blocked, retrying]) {
        expect(await trial.queue.cancel(id)).toBe('cancelled');
        expect(await trial.record(id)).toMatchObject({ state: 'cancelled', deadReason: undefined });
        expect((await trial.record(id)).finishedAt).toBeTypeOf('number');
        expect(await trial.queue.cancel(id)).toBe('finished');
      }
      expect(await trial.drain()).toEqual([head]);
      await trial.pass(trial.bench.advance ? 60_000 : 0);
      await trial.nothing();
      expect((await trial.queue.deadLetters.list({}, 9)).items).toEqual([]);
      expect((await trial.lane()).totals).toMatchObject({ accepted: 5, cancelled: 4, succeeded: 1 });
    },
  },
  {
    name: 'cancel: one that runs goes on, and is cancelled instead of tried again',
    needs: ['cancel'],
    run: async (trial) => {
      for (const counted of [true, false]) {
        const id = await trial.put();
        const lease = await trial.one();
        expect(await trial.queue.cancel(id)).toBe('running');
        expect(await trial.queue.cancel(id)).toBe('running');
        expect(await trial.state(id)).toBe('running');
        await trial.settle(lease, { kind: 'retry', delayMs: 0, counted, error });
        expect(await trial.state(id)).toBe('cancelled');
      }
      await trial.nothing();
    },
  },
  {
    name: 'cancel: one that runs and succeeds all the same has succeeded',
    needs: ['cancel'],
    run: async (trial) => {
      const id = await trial.put();
      const lease = await trial.one();
      await trial.queue.cancel(id);
      await trial.settle(lease, { kind: 'ack' });
      expect(await trial.state(id)).toBe('succeeded');
      expect(await trial.queue.cancel(id)).toBe('finished');
    },
  },
  {
    name: 'cancel: one that runs and crashes is cancelled instead of tried again',
    needs: ['cancel'],
    run: async (trial) => {
      const id = await trial.put();
      await trial.one({ ttlMs: trial.shortMs });
      await trial.queue.cancel(id);
      await trial.pass(trial.shortMs);
      await trial.nothing();
      expect(await trial.state(id)).toBe('cancelled');
    },
  },
  {
    name: 'cancel: what is unknown cannot be cancelled, and what has finished has finished',
    needs: ['cancel'],
    run: async (trial) => {
      expect(await trial.queue.cancel(trial.message().id)).toBe('unknown');
      const id = await trial.put();
      await trial.kill(id);
      expect(await trial.queue.cancel(id)).toBe('finished');
      expect(await trial.state(id)).toBe('dead');
    },
  },
  {
    name: 'cancel: it survives a crash, also of the one that was running',
    needs: ['cancel', 'reopen'],
    run: async (trial) => {
      const running = await trial.put();
      await trial.one({ ttlMs: trial.leftMs });
      const waiting = await trial.put();
      expect(await trial.queue.cancel(running)).toBe('running');
      expect(await trial.queue.cancel(waiting)).toBe('cancelled');
      await trial.takeOver();
      await trial.nothing();
      await expectStates(trial, { [running]: 'cancelled', [waiting]: 'cancelled' });
    },
  },
];

async function expectStates(trial: QueueTrial, states: Readonly<Record<string, string>>): Promise<void> {
  for (const [id, state] of Object.entries(states)) expect(await trial.state(id)).toBe(state);
}
