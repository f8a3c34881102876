import { expect } from 'vitest';
import { idOf, type QueueCase, type QueueTrial } from '../queue-trial.ts';

const error = { code: 'function.failed', message: 'no' };

/** What has become too old is not run any more, and is kept as a dead letter. */
export const expiryCases: readonly QueueCase[] = [
  {
    name: 'expiry: one that is too old is never leased, ends as expired and is kept as a letter',
    run: async (trial) => {
      const id = await trial.put({ maxAgeMs: trial.shortMs, text: 'too late' });
      await trial.pass(trial.shortMs);
      await trial.nothing();
      await expectExpired(trial, id, 0);
      expect(await trial.queue.deadLetters.get(id)).toMatchObject({ id, reason: 'expired', attempt: 0 });
      expect(Buffer.from((await trial.queue.deadLetters.body(id)) ?? []).toString()).toBe('too late');
      expect(await trial.lane()).toMatchObject({ ready: 0, dead: 1, totals: { expired: 1, dead: 0 } });
    },
  },
  {
    name: 'expiry: its letter is there as soon as its time is over, and can be replayed',
    needs: ['advance', 'deadLetters'],
    run: async (trial) => {
      const id = await trial.put({ maxAgeMs: 1000 });
      await trial.pass(999);
      expect(await trial.queue.deadLetters.list({}, 9)).toMatchObject({ items: [] });
      await trial.pass(1);
      expect((await trial.queue.deadLetters.list({ reason: 'expired' }, 9)).items.map(({ id }) => id)).toEqual([id]);
      const { id: newId } = trial.message();
      expect(await trial.queue.deadLetters.replay(id, { id: newId })).toBe(true);
      await trial.pass(999);
      expect(await trial.drain()).toEqual([newId]);
    },
  },
  {
    name: 'expiry: one that is young enough is leased',
    needs: ['advance'],
    run: async (trial) => {
      const id = await trial.put({ maxAgeMs: 1000 });
      await trial.pass(999);
      expect(idOf(await trial.one())).toBe(id);
    },
  },
  {
    name: 'expiry: also of one that is delayed, or waits behind another one, or in a paused lane',
    needs: ['delay', 'pause'],
    run: async (trial) => {
      const delayed = await trial.put({ delayMs: 60_000, maxAgeMs: trial.shortMs });
      const head = await trial.put({ orderKey: 'k' });
      const blocked = await trial.put({ orderKey: 'k', maxAgeMs: trial.shortMs });
      const next = await trial.put({ orderKey: 'k' });
      const paused = await trial.put({ lane: 'other.default', maxAgeMs: trial.shortMs });
      await trial.queue.pause('other.default');
      await trial.pass(trial.shortMs);
      for (const id of [delayed, blocked, paused]) await expectExpired(trial, id, 0);
      expect(await trial.drain()).toEqual([head, next]);
    },
  },
  {
    name: 'expiry: a running attempt may end after it, and succeed',
    run: async (trial) => {
      const id = await trial.put({ maxAgeMs: trial.shortMs });
      const lease = await trial.one();
      await trial.pass(trial.shortMs);
      expect(await trial.state(id)).toBe('running');
      await trial.settle(lease, { kind: 'ack' });
      expect(await trial.state(id)).toBe('succeeded');
    },
  },
  {
    name: 'expiry: a retry that would begin too late is none',
    run: async (trial) => {
      const late = await trial.put({ maxAgeMs: 30_000 });
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: 60_000, error });
      await expectExpired(trial, late, 1);
      expect((await trial.record(late)).errors).toMatchObject([{ attempt: 1, code: error.code }]);
      expect((await trial.queue.deadLetters.get(late))?.errors).toHaveLength(1);
      await trial.nothing();
    },
  },
  {
    name: 'expiry: a crash after it is not repaired by another attempt',
    run: async (trial) => {
      const id = await trial.put({ maxAgeMs: trial.shortMs, maxAttempts: 9 });
      await trial.one({ ttlMs: trial.shortMs * 2 });
      await trial.pass(trial.shortMs * 2);
      await trial.nothing();
      await expectExpired(trial, id, 1);
      expect((await trial.record(id)).errors).toMatchObject([{ code: 'function.crashed' }]);
    },
  },
  {
    name: 'expiry: also while it waits for a retry that did not come in time',
    needs: ['pause'],
    run: async (trial) => {
      const id = await trial.put({ maxAgeMs: trial.shortMs * 2 });
      const lease = await trial.one();
      await trial.queue.pause('work.default');
      await trial.settle(lease, { kind: 'retry', delayMs: trial.bench.advance ? 500 : 0, error });
      await trial.pass(trial.shortMs * 2);
      await trial.queue.resume('work.default');
      await trial.nothing();
      await expectExpired(trial, id, 1);
    },
  },
  {
    name: 'G7: the next one goes when the first one expires',
    run: async (trial) => {
      const first = await trial.put({ orderKey: 'k', maxAgeMs: trial.shortMs });
      const second = await trial.put({ orderKey: 'k' });
      await trial.pass(trial.shortMs);
      expect(await trial.drain()).toEqual([second]);
      await expectExpired(trial, first, 0);
    },
  },
  {
    name: 'G7: the next one goes when the first one is dead of crashes',
    run: async (trial) => {
      const first = await trial.put({ orderKey: 'k', maxAttempts: 1 });
      const second = await trial.put({ orderKey: 'k' });
      await trial.one({ ttlMs: trial.shortMs });
      await trial.pass(trial.shortMs);
      expect(await trial.drain()).toEqual([second]);
      expect(await trial.state(first)).toBe('dead');
    },
  },
  {
    name: 'expiry: it is kept over a crash',
    needs: ['reopen'],
    run: async (trial) => {
      const id = await trial.put({ maxAgeMs: trial.shortMs });
      await trial.reopen();
      await trial.pass(trial.shortMs);
      await trial.nothing();
      await expectExpired(trial, id, 0);
    },
  },
];

async function expectExpired(trial: QueueTrial, id: string, attempt: number): Promise<void> {
  const record = await trial.record(id);
  expect(record).toMatchObject({ state: 'expired', deadReason: 'expired', attempt, dueAt: undefined });
  expect(record.finishedAt).toBeTypeOf('number');
}
