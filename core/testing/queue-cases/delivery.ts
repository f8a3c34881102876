import { expect } from 'vitest';
import { idOf, laneName, type QueueCase } from '../queue-trial.ts';

/** G1, G2, G4: what was accepted is given out until it is settled, and each time is counted. */
export const deliveryCases: readonly QueueCase[] = [
  {
    name: 'G1: a message comes out as it went in, whatever its sender does with the buffer afterwards',
    run: async (trial) => {
      const body = Uint8Array.from({ length: 256 }, (_, index) => index);
      const message = trial.message({ body: body.slice(), orderKey: 'k', maxAgeMs: 900_000, delayMs: 0 });
      const empty = trial.message({ body: new Uint8Array(), priority: 0 });
      await trial.queue.enqueue([message, empty]);
      message.body.fill(0);
      const [lease, second] = await trial.take(2);
      expect(lease?.message).toEqual({ ...message, body: expect.anything() });
      expect(Buffer.from(lease?.message.body ?? []).equals(body)).toBe(true);
      expect(lease?.attempt).toBe(1);
      expect(lease?.receipt).toMatchObject({ id: message.id, lane: laneName });
      expect(second?.message.body.byteLength).toBe(0);
    },
  },
  {
    name: 'G1: a holder that changes its bytes does not change those of the next attempt',
    run: async (trial) => {
      await trial.put({ text: 'as accepted' });
      const first = await trial.one();
      first.message.body.fill(0);
      await trial.settle(first, { kind: 'retry', delayMs: 0 });
      expect(Buffer.from((await trial.one()).message.body).toString()).toBe('as accepted');
    },
  },
  {
    name: 'G1: a batch is answered in its order, with a message of the same id twice as a duplicate',
    run: async (trial) => {
      const messages = [trial.message(), trial.message(), trial.message({ lane: 'other.default' })];
      const [a, b, c] = messages.map(({ id }) => id);
      expect(await trial.queue.enqueue([...messages, ...messages.slice(0, 1)])).toEqual([
        { status: 'accepted', id: a },
        { status: 'accepted', id: b },
        { status: 'accepted', id: c },
        { status: 'duplicate', id: a },
      ]);
      expect(await trial.drain()).toEqual([a, b]);
      expect(await trial.drain('other.default')).toEqual([c]);
      expect(await trial.queue.enqueue(messages.slice(0, 1))).toEqual([{ status: 'duplicate', id: a }]);
      expect(await trial.queue.enqueue([])).toEqual([]);
    },
  },
  {
    name: 'G1: what was accepted is there after a crash, byte for byte and in order',
    needs: ['reopen'],
    run: async (trial) => {
      const messages = Array.from({ length: 40 }, (_, index) =>
        trial.message({ body: Uint8Array.from({ length: index * 7 }, (_, at) => (at * 31 + index) % 256) }),
      );
      await Promise.all([0, 10, 20, 30].map((from) => trial.queue.enqueue(messages.slice(from, from + 10))));
      await trial.reopen();
      const leases = await trial.take(50);
      expect(leases.map(idOf)).toEqual(messages.map(({ id }) => id));
      for (const [index, { message, attempt }] of leases.entries()) {
        expect(attempt).toBe(1);
        expect(message.envelope).toEqual(messages[index]?.envelope);
        expect(Buffer.from(message.body).equals(messages[index]?.body ?? new Uint8Array())).toBe(true);
      }
    },
  },
  {
    name: 'G1: what was settled stays settled after a crash',
    needs: ['reopen'],
    run: async (trial) => {
      const [acked, retried, cancelled] = [await trial.put(), await trial.put(), await trial.put()];
      await trial.settle(await trial.one(), { kind: 'ack' });
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: 0, error: { code: 'x', message: 'y' } });
      await trial.queue.cancel(cancelled);
      await trial.reopen();
      expect(await trial.state(acked)).toBe('succeeded');
      expect(await trial.state(cancelled)).toBe('cancelled');
      expect((await trial.record(retried)).errors).toMatchObject([{ attempt: 1, code: 'x', message: 'y' }]);
      const lease = await trial.one();
      expect([idOf(lease), lease.attempt]).toEqual([retried, 2]);
      await trial.nothing();
    },
  },
  {
    name: 'G2: what is leased is given to nobody else, however many ask at once',
    run: async (trial) => {
      const ids = await Promise.all(Array.from({ length: 30 }, () => trial.put()));
      const leases = (await Promise.all(Array.from({ length: 10 }, () => trial.take(5)))).flat();
      expect(leases.map(idOf).toSorted()).toEqual(ids.toSorted());
      await trial.nothing();
      expect(await trial.lane()).toMatchObject({ leased: 30, ready: 0 });
    },
  },
  {
    name: 'G2: a lease that runs out is given again, with a higher attempt and epoch and the crash recorded',
    run: async (trial) => {
      const id = await trial.put();
      const first = await trial.one({ ttlMs: trial.shortMs });
      await trial.pass(trial.shortMs);
      const second = await trial.one();
      expect([idOf(second), second.attempt]).toEqual([id, 2]);
      expect(second.receipt.epoch).toBeGreaterThan(first.receipt.epoch);
      expect((await trial.record(id)).errors).toMatchObject([{ attempt: 1, code: 'function.crashed' }]);
    },
  },
  {
    name: 'G2: a message asked to be repeated comes again, with its errors kept',
    run: async (trial) => {
      const id = await trial.put({ maxAttempts: 2 });
      for (let attempt = 1; attempt <= 4; attempt++) {
        const lease = await trial.one();
        expect([idOf(lease), lease.attempt]).toEqual([id, attempt]);
        const error = { code: 'function.failed', message: `number ${attempt}`, status: 503 };
        await trial.settle(lease, { kind: 'retry', delayMs: 0, error });
      }
      // Whether to give up is decided by whoever runs it: the queue counts crashes only.
      const { state, attempt, errors } = await trial.record(id);
      expect([state, attempt]).toEqual(['failed', 4]);
      expect(errors.map(({ attempt, message, status }) => [attempt, message, status])).toEqual(
        [1, 2, 3, 4].map((number) => [number, `number ${number}`, 503]),
      );
    },
  },
  {
    name: 'G2: what a dead process had leased is given again, and its receipts are stale',
    needs: ['reopen'],
    run: async (trial) => {
      const id = await trial.put();
      const first = await trial.one({ ttlMs: trial.leftMs });
      await trial.takeOver();
      const second = await trial.one();
      expect([idOf(second), second.attempt]).toEqual([id, 2]);
      expect(second.receipt.epoch).toBeGreaterThan(first.receipt.epoch);
      expect(await trial.queue.settle(first.receipt, { kind: 'ack' })).toBe('stale');
      await trial.settle(second, { kind: 'ack' });
      expect(await trial.state(id)).toBe('succeeded');
    },
  },
  {
    name: 'G2: what another process has leased is given to nobody, until its lease ends',
    needs: ['reopen', 'shared', 'advance'],
    run: async (trial) => {
      const id = await trial.put();
      const first = await trial.one({ ttlMs: 1000 });
      await trial.reopen();
      await trial.pass(999);
      await trial.nothing();
      expect(await trial.state(id)).toBe('running');
      expect(await trial.queue.extend(first.receipt, 1000)).toBe('settled');
      await trial.pass(999);
      await trial.nothing();
      await trial.pass(1);
      expect((await trial.one()).attempt).toBe(2);
    },
  },
  {
    name: 'G4: an attempt is counted when it is leased, not when it ends',
    run: async (trial) => {
      const id = await trial.put();
      expect(await trial.record(id)).toMatchObject({ state: 'queued', attempt: 0, startedAt: undefined });
      const lease = await trial.one();
      expect(lease.attempt).toBe(1);
      const record = await trial.record(id);
      expect(record).toMatchObject({ id, lane: laneName, state: 'running', attempt: 1, finishedAt: undefined });
      expect(record.startedAt).toBeTypeOf('number');
    },
  },
  {
    name: 'G4: a message that kills whoever runs it is dead as crashed after its attempts',
    run: async (trial) => {
      const id = await trial.put({ maxAttempts: 2 });
      for (const attempt of [1, 2]) {
        expect((await trial.one({ ttlMs: trial.shortMs })).attempt).toBe(attempt);
        await trial.pass(trial.shortMs);
      }
      await trial.nothing();
      const record = await trial.record(id);
      expect(record).toMatchObject({ state: 'dead', attempt: 2, deadReason: 'crashed' });
      expect(record.errors).toMatchObject([
        { attempt: 1, code: 'function.crashed' },
        { attempt: 2, code: 'function.crashed' },
      ]);
      expect(await trial.lane()).toMatchObject({ leased: 0, dead: 1, totals: { dead: 1 } });
    },
  },
  {
    name: 'G4: a message that kills the gateway itself is dead as crashed after its attempts',
    needs: ['reopen'],
    run: async (trial) => {
      const id = await trial.put({ maxAttempts: 2 });
      for (const attempt of [1, 2]) {
        expect((await trial.one({ ttlMs: trial.leftMs })).attempt).toBe(attempt);
        await trial.takeOver();
      }
      await trial.nothing();
      expect(await trial.record(id)).toMatchObject({ state: 'dead', attempt: 2, deadReason: 'crashed' });
    },
  },
  {
    name: 'G4: a lease handed back uncounted gives its attempt back',
    run: async (trial) => {
      const id = await trial.put({ maxAttempts: 1 });
      for (let round = 0; round < 3; round++) {
        const lease = await trial.one();
        expect(lease.attempt).toBe(1);
        await trial.settle(lease, { kind: 'retry', delayMs: 0, counted: false });
        expect(await trial.record(id)).toMatchObject({ state: 'queued', attempt: 0, errors: [] });
      }
      const first = await trial.one();
      await trial.settle(first, { kind: 'retry', delayMs: 0 });
      const second = await trial.one();
      expect(second.receipt.epoch).toBeGreaterThan(first.receipt.epoch);
      await trial.settle(second, { kind: 'retry', delayMs: 0, counted: false });
      expect(await trial.record(id)).toMatchObject({ state: 'failed', attempt: 1 });
    },
  },
];
