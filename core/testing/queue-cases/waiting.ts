import { expect } from 'vitest';
import type { Lease } from '../../contracts/queue.ts';
import { idOf, unaborted, type QueueCase, type QueueTrial } from '../queue-trial.ts';

/** Far longer than any case takes: a wait that ends by itself fails by the runner's bound. */
const longMs = 600_000;

/** Whoever waits for work is woken by it; G14: a queue that stops lets everybody go. */
export const waitingCases: readonly QueueCase[] = [
  {
    name: 'waiting: with nothing to give, a lease ends empty after its time',
    run: async (trial) => {
      expect(await trial.take(5, { waitMs: 0, lane: 'never.default' })).toEqual([]);
      // Many and one after the other: a timer of Node may fire before the clock has come as far.
      const waits = Array.from({ length: 20 }, async (_, index) => {
        for (let turn = 0; turn < 5; turn++) expect(await trial.take(5, { waitMs: 10 + index })).toEqual([]);
      });
      await Promise.all(waits);
    },
  },
  wokenBy('an enqueued message', async (trial) => trial.put()),
  wokenBy('a delay that ends', async (trial) => {
    const id = await trial.put({ delayMs: trial.shortMs });
    await trial.pass(trial.shortMs);
    return id;
  }),
  {
    name: 'waiting: a waiting lease is woken by a retry, and by a lease that is handed back',
    run: async (trial) => {
      for (const counted of [true, false]) {
        const id = await trial.put();
        const lease = await trial.one();
        const waiting = trial.take(1, { waitMs: longMs });
        await trial.settle(lease, { kind: 'retry', delayMs: 0, counted });
        await expectOnly(trial, waiting, id);
      }
    },
  },
  {
    name: "waiting: a waiting lease is woken by the end of somebody else's",
    run: async (trial) => {
      const id = await trial.put();
      await trial.one({ ttlMs: trial.shortMs });
      const waiting = trial.take(1, { waitMs: longMs });
      await trial.pass(trial.shortMs);
      await expectOnly(trial, waiting, id);
    },
  },
  {
    name: 'waiting: a waiting lease is woken when its lane is resumed',
    needs: ['pause'],
    run: async (trial) => {
      await trial.queue.pause('work.default');
      const id = await trial.put();
      const waiting = trial.take(1, { waitMs: longMs });
      await trial.queue.resume('work.default');
      await expectOnly(trial, waiting, id);
    },
  },
  {
    name: 'waiting: a waiting lease is woken when the one in front of its key ends',
    run: async (trial) => {
      await trial.put({ orderKey: 'k' });
      const next = await trial.put({ orderKey: 'k' });
      const head = await trial.one();
      const waiting = trial.take(1, { waitMs: longMs });
      await trial.settle(head, { kind: 'ack' });
      await expectOnly(trial, waiting, next);
    },
  },
  {
    name: 'waiting: a waiting lease is woken by an effect and by a replay',
    needs: ['deadLetters'],
    run: async (trial) => {
      const dead = await trial.put({ lane: 'other.default' });
      const lease = await trial.one({ lane: 'other.default' });
      const effect = trial.message();
      const first = trial.take(1, { waitMs: longMs });
      const error = { code: 'x', message: 'y' };
      await trial.settle(lease, { kind: 'dead', reason: 'permanent', error, effects: [effect] });
      await expectOnly(trial, first, effect.id);
      const second = trial.take(1, { waitMs: longMs });
      const { id } = trial.message();
      await trial.queue.deadLetters.replay(dead, { id, to: effect.lane });
      await expectOnly(trial, second, id);
    },
  },
  {
    name: 'waiting: of many that wait each message wakes one, and none gets it twice',
    run: async (trial) => {
      const abort = new AbortController();
      const waiting = Array.from({ length: 6 }, () => trial.take(1, { waitMs: longMs, signal: abort.signal }));
      const ids = [await trial.put(), await trial.put(), await trial.put(), await trial.put()];
      await trial.until(async () => (await trial.lane()).leased === 4);
      abort.abort();
      const leases = (await Promise.all(waiting)).flat();
      expect(leases.map(idOf).toSorted()).toEqual(ids.toSorted());
    },
  },
  {
    name: 'waiting: an abort ends the wait, and what is handed out around it is never lost',
    run: async (trial) => {
      const idle = new AbortController();
      const empty = trial.take(1, { waitMs: longMs, signal: idle.signal });
      idle.abort();
      expect(await empty).toEqual([]);
      for (let round = 0; round < 20; round++) {
        const abort = new AbortController();
        const waiting = trial.take(1, { waitMs: longMs, signal: abort.signal });
        const put = trial.put();
        if (round % 2 === 0) await Promise.resolve();
        abort.abort();
        const id = await put;
        const leases = await waiting;
        for (const lease of leases) await trial.settle(lease, { kind: 'ack' });
        expect([...leases.map(idOf), ...(await trial.drain())]).toEqual([id]);
      }
    },
  },
  {
    name: 'G14: stop ends every wait and gives out nothing more',
    run: async (trial) => {
      const waiting = trial.take(1, { waitMs: longMs });
      const id = await trial.put({ delayMs: longMs });
      const finished = trial.queue.finished(id, unaborted);
      await trial.stop();
      expect(await waiting).toEqual([]);
      expect(await finished).toBeUndefined();
      await expect(trial.queue.enqueue([trial.message()])).rejects.toMatchObject({ code: 'queue.unavailable' });
      const late = await trial.take(1).catch((error: unknown) => error);
      if (!Array.isArray(late)) expect(late).toMatchObject({ code: 'queue.unavailable' });
      else expect(late).toEqual([]);
      await trial.stop();
    },
  },
  {
    name: 'G14: what was handed back before the stop is uncounted after it, what was still out is given again',
    needs: ['reopen'],
    run: async (trial) => {
      const back = await trial.put();
      const out = await trial.put();
      await trial.settle(await trial.one(), { kind: 'retry', delayMs: 0, counted: false });
      expect(await trial.take(2, { ttlMs: trial.leftMs })).toHaveLength(2);
      // Both are out again.
      await trial.takeOver();
      const leases = await trial.take(9);
      expect(leases.map(({ message, attempt }) => [message.id, attempt])).toEqual([
        [back, 2],
        [out, 2],
      ]);
      for (const lease of leases) await trial.settle(lease, { kind: 'retry', delayMs: 0, counted: false });
      await trial.queue.stop(5000);
      await trial.reopen();
      expect((await trial.take(9)).map(({ attempt }) => attempt)).toEqual([2, 2]);
    },
  },
];

function wokenBy(what: string, cause: (trial: QueueTrial) => Promise<string>): QueueCase {
  return {
    name: `waiting: a waiting lease is woken by ${what}`,
    run: async (trial) => {
      const waiting = trial.take(1, { waitMs: longMs });
      const id = await cause(trial);
      await expectOnly(trial, waiting, id);
    },
  };
}

async function expectOnly(trial: QueueTrial, waiting: Promise<Lease[]>, id: string): Promise<void> {
  const leases = await waiting;
  expect(leases.map(idOf)).toEqual([id]);
  for (const lease of leases) await trial.settle(lease, { kind: 'ack' });
}
