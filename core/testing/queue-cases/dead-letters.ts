import { expect } from 'vitest';
import type { DeadLetter } from '../../contracts/queue.ts';
import { idOf, laneName, type QueueCase, type QueueTrial } from '../queue-trial.ts';

/** G9: what is given up is kept whole, and can be read, run again or thrown away. */
export const deadLetterCases: readonly QueueCase[] = [
  {
    name: 'G9: a dead letter keeps its bytes, its headers, its reason and the error of every attempt',
    needs: ['deadLetters'],
    run: async (trial) => {
      const body = Uint8Array.from({ length: 300 }, (_, index) => (index * 7) % 256);
      const message = trial.message({ body, maxAttempts: 9 });
      await trial.queue.enqueue([message]);
      const retry = { code: 'function.timeout', message: 'too slow', status: 504 };
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: 0, error: retry });
      await trial.one({ ttlMs: trial.shortMs });
      await trial.pass(trial.shortMs);
      const error = { code: 'function.failed', message: 'it threw', status: 500 };
      await trial.settle(await trial.one(), { kind: 'dead', reason: 'max_attempts', error });

      const { deadLetters } = trial.queue;
      const letter = await deadLetters.get(message.id);
      expect(letter).toMatchObject({
        id: message.id,
        lane: laneName,
        reason: 'max_attempts',
        attempt: 3,
        bodyBytes: 300,
      });
      expect(letter?.envelope).toEqual(message.envelope);
      expect(letter?.diedAt).toBeTypeOf('number');
      expect(letter?.errors).toMatchObject([
        { ...retry, attempt: 1 },
        { code: 'function.crashed', attempt: 2 },
        { ...error, attempt: 3 },
      ]);
      expect(Buffer.from((await deadLetters.body(message.id)) ?? []).equals(body)).toBe(true);
      const record = await trial.record(message.id);
      expect(record).toMatchObject({ state: 'dead', deadReason: 'max_attempts', attempt: 3 });
      expect(record.errors).toEqual(letter?.errors);
      expect((await trial.lane()).dead).toBe(1);
    },
  },
  {
    name: 'G9: what failed before it came is kept at once, is found, and runs again when it is replayed',
    needs: ['deadLetters'],
    run: async (trial) => {
      const error = { code: 'function.failed', message: 'it threw', status: 400 };
      const history = { attempt: 2, error, dead: 'permanent' } as const;
      const first = trial.message({ text: 'first', orderKey: 'k', maxAttempts: 5, delayMs: 3_600_000, history });
      const second = trial.message({ text: 'second', orderKey: 'k', maxAttempts: 5 });
      const results = await trial.queue.enqueue([first, second, first]);
      expect(results.map(({ status }) => status)).toEqual(['accepted', 'accepted', 'duplicate']);
      expect(await trial.record(first.id)).toMatchObject({ state: 'dead', attempt: 2, deadReason: 'permanent' });
      const letter = await trial.queue.deadLetters.get(first.id);
      expect(letter).toMatchObject({ reason: 'permanent', attempt: 2, errors: [{ ...error, attempt: 2 }] });
      expect(letter?.envelope).toEqual(first.envelope);
      expect(Buffer.from((await trial.queue.deadLetters.body(first.id)) ?? []).toString()).toBe('first');
      expect((await trial.queue.finished(first.id, AbortSignal.timeout(10_000)))?.state).toBe('dead');
      // It holds up nobody.
      const next = await trial.one();
      expect(next.message.id).toBe(second.id);
      expect(await trial.lane()).toMatchObject({ leased: 1, dead: 1, totals: { accepted: 2, dead: 1 } });
      const again = trial.message();
      expect(await trial.queue.deadLetters.replay(first.id, { id: again.id })).toBe(true);
      await trial.settle(next, { kind: 'ack' });
      const lease = await trial.one();
      expect(lease).toMatchObject({ attempt: 1, message: { id: again.id } });
      expect(lease.message).not.toHaveProperty('history');
      expect(Buffer.from(lease.message.body).toString()).toBe('first');
    },
  },
  {
    name: 'G4: attempts that were made before it came count, with their error',
    run: async (trial) => {
      const error = { code: 'function.timeout', message: 'too slow', status: 504 };
      const id = await trial.put({ maxAttempts: 3, delayMs: trial.shortMs, history: { attempt: 2, error } });
      expect(await trial.record(id)).toMatchObject({ state: 'failed', attempt: 2, errors: [{ ...error, attempt: 2 }] });
      await trial.nothing();
      await trial.pass(trial.shortMs);
      const lease = await trial.one({ ttlMs: trial.shortMs });
      expect(lease.attempt).toBe(3);
      expect(lease.message).not.toHaveProperty('history');
      await trial.pass(trial.shortMs);
      await trial.until(async () => (await trial.record(id)).state === 'dead');
      expect(await trial.record(id)).toMatchObject({ deadReason: 'crashed', errors: [{ attempt: 2 }, { attempt: 3 }] });
    },
  },
  {
    name: 'G9: what failed before it came is kept even where nothing more may wait',
    needs: ['deadLetters'],
    settings: { maxMessages: 1 },
    run: async (trial) => {
      await trial.put();
      const error = { code: 'function.failed', message: 'no' };
      const full = [trial.message(), trial.message({ history: { attempt: 1, error, dead: 'permanent' } })];
      expect((await trial.queue.enqueue(full)).map(({ status }) => status)).toEqual(['full', 'accepted']);
      expect(await trial.record(full[1]?.id ?? '')).toMatchObject({ state: 'dead' });
      expect((await trial.lane()).ready).toBe(1);
    },
  },
  {
    name: 'G9: there is no letter of what is unknown, still waits or succeeded',
    needs: ['deadLetters'],
    run: async (trial) => {
      const succeeded = await trial.put();
      await trial.settle(await trial.one(), { kind: 'ack' });
      const { deadLetters } = trial.queue;
      for (const id of [trial.message().id, await trial.put(), succeeded]) {
        expect(await deadLetters.get(id)).toBeUndefined();
        expect(await deadLetters.body(id)).toBeUndefined();
        expect(await deadLetters.replay(id, { id: trial.message().id })).toBe(false);
        expect(await deadLetters.purge({ id })).toBe(0);
      }
      expect(await deadLetters.list({}, 10)).toEqual({ items: [], cursor: undefined });
      expect(await trial.lane()).toMatchObject({ ready: 1, totals: { accepted: 2, succeeded: 1 } });
    },
  },
  {
    name: 'G9: letters are listed newest first, page by page, also while others die and are purged',
    needs: ['deadLetters'],
    run: async (trial) => {
      const { deadLetters } = trial.queue;
      const ids = await dead(trial, 7);
      const newestFirst = ids.toReversed();
      const first = await deadLetters.list({}, 3);
      expect(idsOf(first.items)).toEqual(newestFirst.slice(0, 3));
      await dead(trial, 1);
      await deadLetters.purge({ id: newestFirst[2] });
      await deadLetters.purge({ id: newestFirst[4] });
      const second = await deadLetters.list({}, 3, first.cursor);
      expect(idsOf(second.items)).toEqual([newestFirst[3], newestFirst[5], newestFirst[6]]);
      expect(second.cursor).toBeUndefined();
      expect((await deadLetters.list({}, 6)).cursor).toBeUndefined();
    },
  },
  {
    name: 'G9: letters are found by lane and by reason',
    needs: ['deadLetters'],
    run: async (trial) => {
      const { deadLetters } = trial.queue;
      const [here = ''] = await dead(trial, 1, 'permanent');
      const [loop = ''] = await dead(trial, 1, 'loop');
      const there = await trial.put({ lane: 'other.default' });
      const lease = await trial.one({ lane: 'other.default' });
      await trial.settle(lease, { kind: 'dead', reason: 'loop', error: { code: 'x', message: 'y' } });
      const found = async (filter: Parameters<typeof deadLetters.list>[0]): Promise<string[]> =>
        idsOf((await deadLetters.list(filter, 10)).items);
      expect(await found({})).toEqual([there, loop, here]);
      expect(await found({ lane: laneName })).toEqual([loop, here]);
      expect(await found({ reason: 'loop' })).toEqual([there, loop]);
      expect(await found({ lane: laneName, reason: 'loop' })).toEqual([loop]);
      expect(await found({ lane: 'none.default' })).toEqual([]);
    },
  },
  {
    name: 'G9: letters are purged one by one or by a filter, and their records stay',
    needs: ['deadLetters'],
    run: async (trial) => {
      const { deadLetters } = trial.queue;
      const [a = '', b = ''] = await dead(trial, 2, 'permanent');
      const [c = '', d = ''] = await dead(trial, 2, 'loop');
      expect(await deadLetters.purge({ id: a })).toBe(1);
      expect(await deadLetters.purge({ id: a })).toBe(0);
      expect(await deadLetters.purge({ id: b, reason: 'loop' })).toBe(0);
      expect(await deadLetters.purge({ reason: 'loop', lane: laneName })).toBe(2);
      expect(idsOf((await deadLetters.list({}, 10)).items)).toEqual([b]);
      expect(await deadLetters.purge({})).toBe(1);
      for (const id of [a, b, c, d]) {
        expect(await deadLetters.get(id)).toBeUndefined();
        expect(await trial.state(id)).toBe('dead');
      }
      expect(await trial.lane()).toMatchObject({ dead: 0, totals: { accepted: 4, dead: 4 } });
    },
  },
  {
    name: 'G9: a replay is a new invocation with the same content, attempts from 1 and a word of where it comes from',
    needs: ['deadLetters'],
    run: async (trial) => {
      const id = await trial.put({ text: 'again', priority: 8, maxAttempts: 4, dedupKey: 'k', dedupWindowMs: 600_000 });
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: 0 });
      await trial.kill(id);
      const { id: newId } = trial.message();
      expect(await trial.queue.deadLetters.replay(id, { id: newId })).toBe(true);
      const lease = await trial.one();
      const { message, attempt } = lease;
      expect([message.id, message.lane, message.priority, attempt]).toEqual([newId, laneName, 8, 1]);
      expect(message.envelope.replayOf).toBe(id);
      expect(message.envelope.headers).toEqual(trial.message().envelope.headers);
      expect(Buffer.from(message.body).toString()).toBe('again');
      expect(await trial.queue.deadLetters.get(id)).toBeUndefined();
      expect(await trial.record(id)).toMatchObject({ state: 'dead', attempt: 2 });
      expect(await trial.record(newId)).toMatchObject({ state: 'running', attempt: 1, errors: [] });
      await trial.settle(lease, { kind: 'ack' });
      expect((await trial.lane()).totals).toMatchObject({ accepted: 2, dead: 1, succeeded: 1 });
    },
  },
  {
    name: 'G9: a replay can go to another function, with other headers and another body',
    needs: ['deadLetters'],
    run: async (trial) => {
      const [id = ''] = await dead(trial, 1);
      const { id: newId } = trial.message();
      const headers = { 'x-text': null, 'x-new': 'yes', 'content-type': 'application/json', 'x-absent': null };
      const body = new Uint8Array([123, 125]);
      await trial.queue.deadLetters.replay(id, { id: newId, to: 'other.default', headers, body });
      await trial.nothing();
      const { message } = await trial.one({ lane: 'other.default' });
      expect(message.envelope.headers).toEqual({
        'content-type': 'application/json',
        'x-many': ['one', 'two'],
        'x-new': 'yes',
      });
      expect([...message.body]).toEqual([...body]);
      expect(await trial.lane('other.default')).toMatchObject({ leased: 1, totals: { accepted: 1 } });
    },
  },
  {
    name: 'G9: a replay with the same new id is done once',
    needs: ['deadLetters'],
    run: async (trial) => {
      const [id = ''] = await dead(trial, 1);
      const { id: newId } = trial.message();
      const replays = [1, 2, 3].map(() => trial.queue.deadLetters.replay(id, { id: newId }));
      expect(await Promise.all(replays)).toEqual([true, true, true]);
      expect(await trial.drain()).toEqual([newId]);
      expect(await trial.queue.deadLetters.replay(id, { id: newId })).toBe(true);
      expect(await trial.queue.deadLetters.replay(id, { id: trial.message().id })).toBe(false);
      await trial.nothing();
    },
  },
  {
    name: 'G9: a replay that dies again is a letter of its own',
    needs: ['deadLetters'],
    run: async (trial) => {
      const [id = ''] = await dead(trial, 1);
      const { id: newId } = trial.message();
      await trial.queue.deadLetters.replay(id, { id: newId });
      await trial.kill(newId);
      const { items } = await trial.queue.deadLetters.list({}, 10);
      expect(items.map(({ id, envelope, attempt }) => [id, envelope.replayOf, attempt])).toEqual([[newId, id, 1]]);
    },
  },
  {
    name: 'G9: letters, and the replays and purges of them, survive a crash',
    needs: ['deadLetters', 'reopen'],
    run: async (trial) => {
      const [kept = '', replayed = '', purged = ''] = await dead(trial, 3);
      const before = await trial.queue.deadLetters.get(kept);
      const { id: newId } = trial.message();
      await trial.queue.deadLetters.replay(replayed, { id: newId });
      await trial.queue.deadLetters.purge({ id: purged });
      await trial.reopen();
      const { deadLetters } = trial.queue;
      expect((await deadLetters.list({}, 10)).items).toEqual([before]);
      expect(Buffer.from((await deadLetters.body(kept)) ?? []).toString()).toBe('body');
      expect(await deadLetters.replay(replayed, { id: newId })).toBe(true);
      expect((await trial.take(9)).map(idOf)).toEqual([newId]);
    },
  },
  {
    name: 'G12: reading, listing and replaying letters counts no attempt and moves nothing',
    needs: ['deadLetters'],
    run: async (trial) => {
      const [letter = ''] = await dead(trial, 1);
      const ids = [await trial.put(), await trial.put()];
      for (let round = 0; round < 2; round++) {
        await trial.queue.deadLetters.list({}, 1);
        await trial.queue.deadLetters.body(letter);
        await trial.queue.lanes();
        for (const id of ids) expect(await trial.record(id)).toMatchObject({ state: 'queued', attempt: 0 });
      }
      const leases = await trial.take(9);
      expect(leases.map(({ message, attempt }) => [message.id, attempt])).toEqual(ids.map((id) => [id, 1]));
    },
  },
];

async function dead(
  trial: QueueTrial,
  count: number,
  reason: Parameters<QueueTrial['kill']>[1] = 'permanent',
): Promise<string[]> {
  const ids: string[] = [];
  for (let number = 0; number < count; number++) {
    const id = await trial.put();
    await trial.kill(id, reason);
    ids.push(id);
  }
  return ids;
}

function idsOf(letters: readonly DeadLetter[]): string[] {
  return letters.map(({ id }) => id);
}
