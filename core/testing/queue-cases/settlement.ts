import { expect } from 'vitest';
import type { Disposition } from '../../contracts/queue.ts';
import { idOf, type QueueCase, type QueueTrial } from '../queue-trial.ts';

const error = { code: 'function.failed', message: 'it threw', status: 500 };

const dispositions: readonly Disposition[] = [
  { kind: 'ack', result: { status: 200, headers: {}, body: new Uint8Array([1]) } },
  { kind: 'retry', delayMs: 0, error },
  { kind: 'retry', delayMs: 0, counted: false },
  { kind: 'dead', reason: 'permanent', error },
  { kind: 'cancelled' },
];

/** G3, G11, G13: only the present lease decides, once, and together with what follows from it. */
export const settlementCases: readonly QueueCase[] = [
  {
    name: 'G3: a lease is settled once, in each way, and every further word is stale',
    run: async (trial) => {
      const states = ['succeeded', 'failed', 'queued', 'dead', 'cancelled'];
      for (const [index, disposition] of dispositions.entries()) {
        const id = await trial.put({ lane: `lane${index}.default` });
        const lease = await trial.one({ lane: `lane${index}.default` });
        await trial.settle(lease, disposition);
        expect(await trial.state(id)).toBe(states[index]);
        const before = await trial.record(id);
        for (const late of dispositions) expect(await trial.queue.settle(lease.receipt, late)).toBe('stale');
        expect(await trial.record(id)).toEqual(before);
      }
    },
  },
  {
    name: 'G3: a receipt whose message another one holds now changes nothing',
    run: async (trial) => {
      const id = await trial.put({ maxAttempts: 9 });
      const old = await trial.one({ ttlMs: trial.shortMs });
      await trial.pass(trial.shortMs);
      const present = await trial.one();
      const effect = trial.message();
      const before = await trial.record(id);
      for (const late of withEffects(effect)) expect(await trial.queue.settle(old.receipt, late)).toBe('stale');
      expect(await trial.queue.extend(old.receipt, 60_000)).toBe('stale');
      expect(await trial.record(id)).toEqual(before);
      expect(await trial.queue.find(effect.id)).toBeUndefined();
      await trial.nothing();
      expect((await trial.lane()).totals).toMatchObject({ accepted: 1, stale: dispositions.length });
      await trial.settle(present, { kind: 'ack' });
      expect(await trial.state(id)).toBe('succeeded');
    },
  },
  {
    name: 'G3: a receipt is stale as soon as its lease has run out, also while nobody else holds the message',
    run: async (trial) => {
      const id = await trial.put();
      const old = await trial.one({ ttlMs: trial.shortMs });
      await trial.pass(trial.shortMs);
      expect(await trial.queue.settle(old.receipt, { kind: 'ack' })).toBe('stale');
      expect(await trial.queue.extend(old.receipt, 60_000)).toBe('stale');
      expect(await trial.state(id)).toBe('failed');
      expect((await trial.one()).attempt).toBe(2);
    },
  },
  {
    name: 'G3: two who settle at once: one of them is settled, the other one stale',
    run: async (trial) => {
      await trial.put();
      const { receipt } = await trial.one();
      const answers = await Promise.all(dispositions.map((each) => trial.queue.settle(receipt, each)));
      expect(answers.filter((answer) => answer === 'settled')).toHaveLength(1);
    },
  },
  {
    name: 'G3: the effects of a success and of a dead letter are queued with it',
    run: async (trial) => {
      for (const make of [ackWith, deadWith]) {
        await trial.put();
        const effect = trial.message({ lane: 'effects.default', text: 'what follows' });
        await trial.settle(await trial.one(), make(effect));
        const lease = await trial.one({ lane: 'effects.default' });
        expect([idOf(lease), Buffer.from(lease.message.body).toString()]).toEqual([effect.id, 'what follows']);
        await trial.settle(lease, { kind: 'ack' });
      }
      expect((await trial.lane('effects.default')).totals).toMatchObject({ accepted: 2, succeeded: 2 });
    },
  },
  {
    name: 'G3: an effect that is already known is not queued a second time',
    run: async (trial) => {
      const effect = trial.message({ lane: 'effects.default' });
      for (let round = 0; round < 2; round++) {
        await trial.put();
        await trial.settle(await trial.one(), ackWith(effect));
      }
      expect(await trial.drain('effects.default')).toEqual([effect.id]);
    },
  },
  {
    name: 'G3: effects survive a crash with the settlement that made them',
    needs: ['reopen'],
    run: async (trial) => {
      const id = await trial.put();
      const effect = trial.message({ lane: 'effects.default' });
      await trial.settle(await trial.one(), ackWith(effect));
      await trial.reopen();
      expect(await trial.state(id)).toBe('succeeded');
      expect(await trial.drain('effects.default')).toEqual([effect.id]);
    },
  },
  {
    name: 'G3: an unknown receipt is stale',
    run: async (trial) => {
      await trial.put();
      const { receipt } = await trial.one();
      const unknown = { ...receipt, id: trial.message().id };
      expect(await trial.queue.settle(unknown, { kind: 'ack' })).toBe('stale');
      expect(await trial.queue.extend(unknown, 1000)).toBe('stale');
      expect(await trial.queue.settle(receipt, { kind: 'ack' })).toBe('settled');
    },
  },
  {
    name: 'G11: a lease that is extended outlasts its first time',
    run: async (trial) => {
      const id = await trial.put();
      const lease = await trial.one({ ttlMs: trial.shortMs });
      expect(await trial.queue.extend(lease.receipt, 60_000)).toBe('settled');
      await trial.pass(trial.shortMs * 2);
      await trial.nothing();
      expect(await trial.state(id)).toBe('running');
      await trial.settle(lease, { kind: 'ack' });
      expect(await trial.record(id)).toMatchObject({ state: 'succeeded', attempt: 1, errors: [] });
    },
  },
  {
    name: 'G11: the time of an extension counts from the extension, and can also shorten the lease',
    run: async (trial) => {
      await trial.put();
      const lease = await trial.one({ ttlMs: 3_600_000 });
      expect(await trial.queue.extend(lease.receipt, trial.shortMs)).toBe('settled');
      await trial.pass(trial.shortMs);
      expect((await trial.one()).attempt).toBe(2);
    },
  },
  {
    name: 'G13: the result of a holder that lost its lease is not kept',
    needs: ['results'],
    run: async (trial) => {
      const id = await trial.put();
      const old = await trial.one({ ttlMs: trial.shortMs });
      await trial.pass(trial.shortMs);
      const present = await trial.one();
      await trial.settle(present, { kind: 'ack', result: resultOf(201) });
      expect(await trial.queue.settle(old.receipt, { kind: 'ack', result: resultOf(500) })).toBe('stale');
      expect((await trial.record(id)).result).toMatchObject({ status: 201 });
    },
  },
];

function resultOf(status: number): { status: number; headers: {}; body: Uint8Array } {
  return { status, headers: {}, body: new Uint8Array([status % 256]) };
}

type Effect = ReturnType<QueueTrial['message']>;

function ackWith(effect: Effect): Disposition {
  return { kind: 'ack', effects: [effect] };
}

function deadWith(effect: Effect): Disposition {
  return { kind: 'dead', reason: 'permanent', error, effects: [effect] };
}

function withEffects(effect: Effect): readonly Disposition[] {
  return dispositions.map((each) =>
    each.kind === 'ack' || each.kind === 'dead' ? { ...each, effects: [effect] } : each,
  );
}
