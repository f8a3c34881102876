import { expect } from 'vitest';
import type { QueueCase } from '../queue-trial.ts';

/** G10: a queue has an end, says so, and loses count of nothing. */
export const boundsCases: readonly QueueCase[] = [
  {
    name: 'bounds: a full queue refuses, keeps nothing of what it refused, and takes again once there is room',
    settings: { maxMessages: 3 },
    run: async (trial) => {
      const messages = [1, 2, 3, 4].map((number) =>
        trial.message({ dedupKey: `k${number}`, dedupWindowMs: 600_000, lane: `lane${number % 2}.default` }),
      );
      const answers = await trial.queue.enqueue(messages);
      expect(answers.map(({ status }) => status)).toEqual(['accepted', 'accepted', 'accepted', 'full']);
      const refused = messages[3];
      if (!refused) throw new Error('four were made');
      expect(answers[3]?.id).toBe(refused.id);
      expect(await trial.queue.find(refused.id)).toBeUndefined();
      await trial.settle(await trial.one({ lane: 'lane0.default' }), { kind: 'ack' });
      expect(await trial.queue.enqueue([refused])).toEqual([{ status: 'accepted', id: refused.id }]);
      expect(await trial.drain('lane0.default')).toEqual([refused.id]);
    },
  },
  {
    name: 'bounds: a duplicate is a duplicate, also of a full queue',
    needs: ['dedup'],
    settings: { maxMessages: 1 },
    run: async (trial) => {
      const message = trial.message({ dedupKey: 'k', dedupWindowMs: 600_000 });
      await trial.queue.enqueue([message]);
      const again = trial.message({ dedupKey: 'k', dedupWindowMs: 600_000 });
      expect(await trial.queue.enqueue([message, again, trial.message()])).toMatchObject([
        { status: 'duplicate', id: message.id },
        { status: 'duplicate', id: message.id },
        { status: 'full' },
      ]);
    },
  },
  {
    name: 'bounds: bytes are bounded as well',
    settings: { maxBytes: 1000 },
    run: async (trial) => {
      const statuses = [];
      for (const size of [600, 401, 400, 1]) {
        const [answer] = await trial.queue.enqueue([trial.message({ body: new Uint8Array(size) })]);
        statuses.push(answer?.status);
      }
      expect(statuses).toEqual(['accepted', 'full', 'accepted', 'full']);
      await trial.drain();
      await trial.put({ body: new Uint8Array(1000) });
    },
  },
  {
    name: 'bounds: a lane that is full does not fill the queue',
    settings: { maxLaneMessages: 2 },
    run: async (trial) => {
      const messages = [1, 2, 3].map(() => trial.message());
      const answers = await trial.queue.enqueue([...messages, trial.message({ lane: 'other.default' })]);
      expect(answers.map(({ status }) => status)).toEqual(['accepted', 'accepted', 'full', 'accepted']);
    },
  },
  {
    name: 'bounds: what follows from a settlement is kept even where a sender would be refused',
    settings: { maxMessages: 1 },
    run: async (trial) => {
      await trial.put();
      const effects = [trial.message({ lane: 'effects.default' }), trial.message({ lane: 'effects.default' })];
      await trial.settle(await trial.one(), { kind: 'ack', effects });
      expect(await trial.drain('effects.default')).toEqual(effects.map(({ id }) => id));
    },
  },
  {
    name: 'G10: every message that was accepted is in exactly one place, at every step',
    needs: ['delay', 'deadLetters', 'cancel'],
    run: async (trial) => {
      const error = { code: 'x', message: 'y' };
      const options = [
        {},
        { orderKey: 'k' },
        { orderKey: 'k' },
        { delayMs: 60_000 },
        { maxAgeMs: trial.shortMs },
        {},
        {},
      ];
      for (const each of options) {
        await trial.put(each);
        await trial.expectConserved();
      }
      const leases = await trial.take(9, { ttlMs: trial.shortMs * 4 });
      expect(leases).toHaveLength(5);
      await trial.expectConserved();
      const dispositions = [
        { kind: 'ack' },
        { kind: 'dead', reason: 'permanent', error },
        { kind: 'retry', delayMs: 0, counted: false },
        { kind: 'cancelled' },
      ] as const;
      for (const [index, disposition] of dispositions.entries()) {
        const lease = leases[index];
        if (lease) await trial.queue.settle(lease.receipt, disposition);
        await trial.expectConserved();
      }
      const [letter] = (await trial.queue.deadLetters.list({}, 1)).items;
      if (!letter) throw new Error('one was given up');
      await trial.queue.deadLetters.replay(letter.id, { id: trial.message().id });
      await trial.expectConserved();
      await trial.pass(trial.shortMs * 5);
      await trial.expectConserved();
      const { totals } = await trial.lane();
      expect(totals).toMatchObject({ accepted: 8, succeeded: 1, dead: 1, cancelled: 1 });
    },
  },
  {
    name: 'G10: the counts since the queue was made survive a crash',
    needs: ['reopen'],
    run: async (trial) => {
      await trial.put();
      await trial.settle(await trial.one(), { kind: 'ack' });
      const dead = await trial.put();
      await trial.kill(dead);
      await trial.put();
      await trial.one({ ttlMs: trial.leftMs });
      await trial.takeOver();
      const lane = await trial.lane();
      expect(lane).toMatchObject({ ready: 1, dead: 1, totals: { accepted: 3, succeeded: 1, dead: 1 } });
    },
  },
];
