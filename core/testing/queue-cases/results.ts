import { expect } from 'vitest';
import type { StoredResult } from '../../contracts/queue.ts';
import { unaborted, type QueueCase, type QueueTrial } from '../queue-trial.ts';

const largeResult: StoredResult = {
  status: 201,
  headers: { 'content-type': 'application/octet-stream', 'set-cookie': ['a=1', 'b=2'] },
  body: Uint8Array.from({ length: 256 }, (_, index) => 255 - index),
};
/** A queue may keep a small one elsewhere than a large one. */
const smallResult: StoredResult = {
  status: 200,
  headers: { 'content-type': 'text/plain' },
  body: Uint8Array.from([0, 255, 195, 40]),
};
const error = { code: 'function.failed', message: 'no' };

/** G13: who asks later is told what came of it. */
export const resultCases: readonly QueueCase[] = [
  {
    name: 'G13: the result given with a success or a dead letter is found later, byte for byte',
    needs: ['results'],
    run: async (trial) => {
      const succeeded = await trial.put();
      await trial.settle(await trial.one(), { kind: 'ack', result: largeResult });
      const dead = await trial.put();
      await trial.settle(await trial.one(), { kind: 'dead', reason: 'permanent', error, result: largeResult });
      for (const id of [succeeded, dead]) await expectResult(trial, id);
      const record = await trial.record(succeeded);
      expect(record).toMatchObject({ state: 'succeeded', attempt: 1, dueAt: undefined, deadReason: undefined });
      expect(record.finishedAt).toBeGreaterThanOrEqual(record.startedAt ?? Infinity);
    },
  },
  {
    name: 'G13: a success without a result has none',
    run: async (trial) => {
      const id = await trial.put();
      await trial.settle(await trial.one(), { kind: 'ack' });
      expect(await trial.record(id)).toMatchObject({ state: 'succeeded', result: undefined });
    },
  },
  {
    name: 'G13: a result is gone after its lifetime, which is told for a while and forgotten in the end',
    needs: ['results'],
    run: async (trial) => {
      const id = await trial.put({ resultTtlMs: trial.shortMs });
      await trial.settle(await trial.one(), { kind: 'ack', result: largeResult });
      const small = await trial.put({ resultTtlMs: trial.shortMs });
      await trial.settle(await trial.one(), { kind: 'ack', result: smallResult });
      if (trial.bench.advance) {
        await trial.pass(trial.shortMs - 1);
        await expectResult(trial, id);
        await expectResult(trial, small, smallResult);
        await trial.pass(1);
      } else {
        await trial.pass(trial.shortMs);
      }
      for (const each of [id, small]) {
        await trial.until(async () => (await trial.record(each)).result === 'expired');
        expect(await trial.record(each)).toMatchObject({ state: 'succeeded', attempt: 1 });
      }
      if (!trial.bench.advance) return;
      await trial.pass(400 * 86_400_000);
      await trial.put();
      await trial.until(async () => (await trial.queue.find(id)) === undefined);
      expect(await trial.queue.cancel(id)).toBe('unknown');
      expect((await trial.lane()).totals).toMatchObject({ accepted: 3, succeeded: 2 });
    },
  },
  {
    name: 'G13: results of every size survive a crash, with the message that they belong to',
    needs: ['results', 'reopen'],
    run: async (trial) => {
      const kept: [id: string, result: StoredResult][] = [];
      for (const size of [0, 4, 150, 300, 20_000]) {
        for (const [bytes, effects] of [
          [3, 0],
          [9000, 0],
          [3, 2],
        ] as const) {
          const id = await trial.put({ body: new Uint8Array(bytes).fill(1) });
          const sized = { ...smallResult, body: new Uint8Array(size).map((_, index) => (index * 7 + size) % 256) };
          const follow = Array.from({ length: effects }, () => trial.message({ lane: 'effects' }));
          await trial.settle(await trial.one(), { kind: 'ack', result: sized, effects: follow });
          kept.push([id, sized]);
        }
      }
      await trial.reopen();
      for (const [id, sized] of kept) {
        await expectResult(trial, id, sized);
        expect((await trial.record(id)).envelope.callId).toBe(`call-${id}`);
        expect((await trial.queue.finished(id, unaborted))?.state).toBe('succeeded');
      }
    },
  },
  {
    name: 'G13: whoever waits for the end is told of every kind of it, and a retry is none',
    run: async (trial) => {
      const ends = [
        ['succeeded', async (id) => trial.settle(await leaseOf(trial, id), { kind: 'ack' })],
        ['dead', async (id) => trial.settle(await leaseOf(trial, id), { kind: 'dead', reason: 'permanent', error })],
        ['cancelled', async (id) => trial.settle(await leaseOf(trial, id), { kind: 'cancelled' })],
        ['cancelled', async (id) => void (await trial.queue.cancel(id))],
        ['expired', async () => trial.pass(trial.shortMs)],
      ] as const satisfies [string, (id: string) => Promise<void>][];
      for (const [state, end] of ends) {
        const id = await trial.put(state === 'expired' ? { maxAgeMs: trial.shortMs } : {});
        const waiting = [trial.queue.finished(id, unaborted), trial.queue.finished(id, unaborted)];
        if (state !== 'expired') await trial.settle(await trial.one(), { kind: 'retry', delayMs: 0, counted: false });
        expect(['queued', 'expired']).toContain(await trial.state(id));
        await end(id);
        for (const record of await Promise.all(waiting)) expect(record).toMatchObject({ id, state });
        expect(await trial.queue.finished(id, unaborted)).toEqual(await trial.record(id));
      }
    },
  },
  {
    name: 'G13: whoever waits is told of the end by a crash as well',
    run: async (trial) => {
      const id = await trial.put({ maxAttempts: 1 });
      const waiting = trial.queue.finished(id, unaborted);
      await trial.one({ ttlMs: trial.shortMs });
      await trial.pass(trial.shortMs);
      expect(await waiting).toMatchObject({ id, state: 'dead', deadReason: 'crashed' });
    },
  },
  {
    name: 'G13: waiting for the unknown ends at once, and any wait when it is aborted',
    run: async (trial) => {
      expect(await trial.queue.finished(trial.message().id, unaborted)).toBeUndefined();
      const id = await trial.put();
      const abort = new AbortController();
      const waiting = trial.queue.finished(id, abort.signal);
      const other = trial.queue.finished(id, unaborted);
      abort.abort();
      expect(await waiting).toBeUndefined();
      expect(await trial.queue.finished(id, abort.signal)).toBeUndefined();
      await trial.settle(await trial.one(), { kind: 'ack' });
      expect(await other).toMatchObject({ id, state: 'succeeded' });
    },
  },
];

async function leaseOf(trial: QueueTrial, id: string): Promise<Awaited<ReturnType<QueueTrial['one']>>> {
  const lease = await trial.one();
  expect(lease.message.id).toBe(id);
  return lease;
}

async function expectResult(trial: QueueTrial, id: string, result: StoredResult = largeResult): Promise<void> {
  const kept = (await trial.record(id)).result;
  if (kept === undefined || kept === 'expired') throw new Error(`the result of ${id} is ${kept ?? 'missing'}`);
  expect({ status: kept.status, headers: kept.headers }).toEqual({ status: result.status, headers: result.headers });
  expect(Buffer.from(kept.body).equals(result.body)).toBe(true);
}
