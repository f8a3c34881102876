import { describe, expect, it } from 'vitest';
import type { Queue } from '../../core/contracts/queue.ts';
import { usualKeeping } from '../../core/ledger/keeper.ts';
import { expectConserved, unaborted } from '../../core/testing/queue-trial.ts';
import { ledgerSettings } from '../contract/ledger-bench.ts';
import { journalNames, leaseAll, message, often, until, world } from '../support/ledger-world.ts';
import { plainMessage } from '../support/plain-message.ts';

/** What was promised to somebody, by the answers that came. */
interface Promised {
  readonly accepted: Set<string>;
  readonly settled: Map<string, 'succeeded' | 'dead'>;
  /** Of each settlement that was asked for: the effect that goes with it. */
  readonly effects: Map<string, string>;
}

/** A day in the life of a gateway; ends with the first thing that fails. */
async function work(queue: Queue, promised: Promised): Promise<void> {
  for (let round = 0; round < 3; round++) {
    const messages = [message(), message({ orderKey: 'k' }), message({ orderKey: 'k' })];
    for (const each of await queue.enqueue(messages)) promised.accepted.add(each.id);
    for (const [index, lease] of (await leaseAll(queue)).entries()) {
      const { id } = lease.message;
      const effect = message({ lane: 'effects.default' });
      promised.effects.set(id, effect.id);
      const error = { code: 'x', message: 'y' };
      const result = { status: 200, headers: {}, body: new Uint8Array(200) };
      await queue.settle(
        lease.receipt,
        index % 2 === 0
          ? { kind: 'ack', effects: [effect], result }
          : { kind: 'dead', reason: 'permanent', error, effects: [effect], result },
      );
      promised.settled.set(id, index % 2 === 0 ? 'succeeded' : 'dead');
    }
  }
}

/** Works until that append, dies, and shows that its successor finds all that was promised. */
async function dieAndFollow(last: number, diesBefore: boolean, { lying = false } = {}): Promise<void> {
  const { open, shared } = world();
  const { queue, view } = await open('one', { keeping: lying ? usualKeeping : often });
  view.left = last;
  view.diesBefore = diesBefore;
  const promised: Promised = { accepted: new Set(), settled: new Map(), effects: new Map() };
  await work(queue, promised).catch((error: unknown) => {
    expect(error).toMatchObject({ code: 'queue.unavailable' });
  });
  view.die();
  if (lying) shared.commands.loseLast();
  const next = await open('one');
  for (const [id, state] of promised.settled) {
    expect((await next.queue.find(id))?.state, `${id}, last append ${last}`).toBe(state);
  }
  for (const stats of await next.queue.lanes()) expectConserved(stats);
  for (const [id, effect] of promised.effects) {
    // With the settlement or not at all.
    const ended = ['succeeded', 'dead'].includes((await next.queue.find(id))?.state ?? '');
    expect((await next.queue.find(effect)) !== undefined).toBe(ended);
  }
  const seen = new Set(promised.settled.keys());
  for (let leases = await leaseAll(next.queue); leases.length > 0; leases = await leaseAll(next.queue)) {
    for (const { receipt, message } of leases) {
      expect(Buffer.from(message.body).equals(Buffer.from(plainMessage(message.id).body))).toBe(true);
      seen.add(message.id);
      await next.queue.settle(receipt, { kind: 'ack' });
    }
  }
  for (const id of promised.accepted) {
    if (!seen.has(id)) expect((await next.queue.find(id))?.state, id).toMatch(/succeeded|dead/);
  }
  await next.queue.stop(1000);
  await queue.stop(10);
}

describe('a gateway on a ledger that dies', () => {
  it('loses nothing that was promised, whichever append is its last', async () => {
    const counting = world();
    const whole = await counting.open('one');
    await work(whole.queue, { accepted: new Set(), settled: new Map(), effects: new Map() });
    await until(() => whole.queue.lanes().then(() => true));
    const { appends } = whole.view;
    await whole.queue.stop(1000);
    // Snapshots are made in it as well.
    expect((await counting.shared.snapshots.bounds()).next).toBeGreaterThanOrEqual(2);
    expect(appends).toBeGreaterThan(20);

    for (let last = 1; last <= appends; last++) {
      for (const diesBefore of [true, false]) await dieAndFollow(last, diesBefore);
    }
  }, 120_000);

  it('would be found out if its broker lost what it had said was taken', async () => {
    await dieAndFollow(1000, false);
    await expect(dieAndFollow(1000, false, { lying: true })).rejects.toThrow('expected');
  });

  it('is followed by one that has the same state, from the snapshot and from the beginning', async () => {
    const { open, shared } = world();
    const { queue } = await open('one');
    for (let round = 0; round < 10; round++) {
      await work(queue, { accepted: new Set(), settled: new Map(), effects: new Map() });
    }
    await until(async () => (await shared.commands.bounds()).first > 0);
    const other = await open('two');
    expect(await other.queue.lanes()).toEqual(await queue.lanes());
    expect(await other.queue.deadLetters.list({}, 100)).toEqual(await queue.deadLetters.list({}, 100));
    await queue.stop(1000);
    await other.queue.stop(1000);
  });
});

describe('a gateway on a ledger', () => {
  it('does once what was sent again because its answer was lost', async () => {
    const { open, shared } = world();
    const { queue } = await open(undefined);
    for (const fault of ['lost', 'answer lost', 'twice'] as const) {
      shared.commands.faults.push(fault);
      const sent = message();
      expect(await queue.enqueue([sent])).toEqual([{ status: 'accepted', id: sent.id }]);
      shared.commands.faults.push(fault);
      const [lease] = await leaseAll(queue);
      expect(lease?.message.id).toBe(sent.id);
      shared.commands.faults.push(fault);
      expect(await queue.settle(lease?.receipt ?? never(), { kind: 'ack' })).toBe('settled');
    }
    const [lane] = await queue.lanes();
    expect(lane?.totals).toMatchObject({ accepted: 3, succeeded: 3, stale: 0 });
    await queue.stop(1000);
  });

  it('says at once that the broker is away, and goes on when it is back', async () => {
    const { open, shared } = world();
    const { queue } = await open(undefined);
    await queue.enqueue([message()]);
    for (const name of journalNames) shared[name].available = false;
    const begun = performance.now();
    await expect(queue.enqueue([message()])).rejects.toMatchObject({ code: 'queue.unavailable', retryAfterSeconds: 1 });
    await expect(leaseAll(queue)).rejects.toMatchObject({ code: 'queue.unavailable' });
    await expect(queue.pause('work.default')).rejects.toMatchObject({ code: 'queue.unavailable' });
    // What is known is told all the same.
    expect(await queue.lanes()).toHaveLength(1);
    expect(performance.now() - begun).toBeLessThan(200);
    for (const name of journalNames) shared[name].available = true;
    expect(await leaseAll(queue)).toHaveLength(1);
    await queue.stop(1000);
  });

  it('gives back a lease whose answer came after it was given up', async () => {
    const { open, shared } = world();
    const { queue } = await open(undefined);
    await queue.enqueue([message()]);
    shared.commands.listening = false;
    // Taken, but it neither is answered nor comes back.
    shared.commands.faults.push(...Array.from({ length: 20 }, () => 'answer lost' as const));
    await expect(leaseAll(queue)).rejects.toMatchObject({ code: 'queue.unavailable' });
    shared.commands.faults.length = 0;
    shared.commands.listening = true;
    await until(async () => (await queue.lanes())[0]?.ready === 1);
    const [lease] = await leaseAll(queue);
    expect(lease?.attempt).toBe(1);
    await queue.stop(1000);
  });

  it('reads on from a snapshot when what it missed was trimmed', async () => {
    const { open, shared } = world();
    const sleepy = await open('sleepy');
    const busy = await open('busy');
    const kept = message();
    await sleepy.queue.enqueue([kept]);
    const waiting = sleepy.queue.finished(kept.id, unaborted);
    sleepy.view.listening = false;
    for (let round = 0; round < 30; round++) {
      await work(busy.queue, { accepted: new Set(), settled: new Map(), effects: new Map() });
    }
    await until(async () => (await shared.commands.bounds()).first > 20);
    sleepy.view.listening = true;
    expect(await waiting).toMatchObject({ state: expect.stringMatching(/succeeded|dead/) });
    await until(async () => JSON.stringify(await sleepy.queue.lanes()) === JSON.stringify(await busy.queue.lanes()));
    await sleepy.queue.enqueue([message()]);
    await sleepy.queue.stop(1000);
    await busy.queue.stop(1000);
  });

  it('forgets bodies that nobody needs, and moves those that are needed for long out of the way', async () => {
    const { open, shared, clock } = world();
    const { queue } = await open('one');
    const long = message({ delayMs: 30 * 86_400_000, body: Buffer.from('kept for long') });
    await queue.enqueue([long]);
    const { first } = await shared.bodies.bounds();
    for (let round = 0; round < 60; round++) {
      const short = message({ body: new Uint8Array(300), resultTtlMs: 1 });
      await queue.enqueue([short]);
      for (const { receipt } of await leaseAll(queue)) await queue.settle(receipt, { kind: 'ack' });
      clock.advance(10_000);
    }
    await until(async () => (await shared.bodies.bounds()).first > first + 20);
    expect(Buffer.from((await shared.bodies.read(first)) ?? []).length).toBe(0);
    clock.advance(30 * 86_400_000);
    const [lease] = await leaseAll(queue);
    expect([lease?.message.id, Buffer.from(lease?.message.body ?? []).toString()]).toEqual([long.id, 'kept for long']);
    await queue.stop(1000);
  });

  it('keeps bodies that are larger than an entry, and many messages in one call', async () => {
    const { open } = world(2000);
    const { queue } = await open('one');
    const large = message({ body: Uint8Array.from({ length: 9000 }, (_, index) => index % 251) });
    expect(await queue.enqueue([large])).toMatchObject([{ status: 'accepted' }]);
    const [lease] = await leaseAll(queue);
    expect(Buffer.from(lease?.message.body ?? []).equals(large.body)).toBe(true);
    await queue.stop(1000);
    const { open: openUsual } = world();
    const usual = await openUsual('one');
    const many = Array.from({ length: 1000 }, () => message());
    expect((await usual.queue.enqueue(many)).every(({ status }) => status === 'accepted')).toBe(true);
    expect((await leaseAll(usual.queue, 1000)).map(({ message }) => message.id)).toEqual(many.map(({ id }) => id));
    await usual.queue.stop(1000);
  });

  it('hands out nothing instead of what the broker has lost, also when its place was taken', async () => {
    const { open, shared } = world();
    const first = await open('one', { keeping: usualKeeping });
    const lost = message({ body: Buffer.from('lost') });
    await first.queue.enqueue([lost]);
    await first.queue.stop(1000);
    shared.bodies.loseLast();
    const { queue } = await open('one', { keeping: usualKeeping });
    const other = message({ body: Buffer.from('other') });
    await queue.enqueue([other]);
    const leases = await leaseAll(queue);
    expect(leases.map(({ message }) => [message.id, Buffer.from(message.body).toString()])).toEqual([
      [other.id, 'other'],
    ]);
    expect(await queue.find(lost.id)).toMatchObject({ state: 'dead', deadReason: 'unreadable' });
    expect((await queue.deadLetters.list({}, 10)).items).toMatchObject([{ id: lost.id, reason: 'unreadable' }]);
    for (const stats of await queue.lanes()) expectConserved(stats);
    await queue.stop(1000);
  });

  it('goes on from a snapshot when the broker has lost the commands before it', async () => {
    const { open, shared } = world();
    const { queue } = await open('one');
    for (let round = 0; round < 4; round++) {
      await work(queue, { accepted: new Set(), settled: new Map(), effects: new Map() });
    }
    await until(async () => (await shared.snapshots.bounds()).next >= 2);
    await queue.stop(1000);
    const { next } = await shared.commands.bounds();
    for (let lost = next; lost > 3; lost--) shared.commands.loseLast();
    const later = await open('two');
    const sent = message();
    expect(await later.queue.enqueue([sent])).toEqual([{ status: 'accepted', id: sent.id }]);
    expect((await leaseAll(later.queue)).map(({ message }) => message.id)).toContain(sent.id);
    const [stats] = await later.queue.lanes();
    expect(stats?.totals.accepted).toBeGreaterThan(3);
    const third = await open('three');
    expect(await third.queue.lanes()).toEqual(await later.queue.lanes());
    await later.queue.stop(1000);
    await third.queue.stop(1000);
  });

  it('shares the work with others, and each message goes to one of them', async () => {
    const { open } = world();
    const gateways = await Promise.all(['a', 'b', 'c'].map((name) => open(name)));
    const messages = Array.from({ length: 90 }, () => message());
    await Promise.all(gateways.map(({ queue }, index) => queue.enqueue(messages.slice(index * 30, index * 30 + 30))));
    const leased = await Promise.all(gateways.map(({ queue }) => leaseAll(queue, 40)));
    expect(
      leased
        .flat()
        .map(({ message }) => message.id)
        .toSorted(),
    ).toEqual(messages.map(({ id }) => id).toSorted());
    expect(leased.filter((leases) => leases.length > 0).length).toBeGreaterThan(1);
    for (const { queue } of gateways) await queue.stop(1000);
  });

  it('leaves out what somebody else has written into its journals (P18)', async () => {
    const { open, shared } = world();
    const { queue, host } = await open('one');
    const before = message();
    await queue.enqueue([before]);
    for (const rubbish of ['rubbish', 'null', '[]', '{"session":1}', '{"id":7}\nx', ''])
      for (const name of journalNames) await shared[name].append(Buffer.from(rubbish));
    const after = message();
    expect(await queue.enqueue([after])).toEqual([{ status: 'accepted', id: after.id }]);
    const other = await open('two');
    expect((await leaseAll(other.queue)).map(({ message: { id } }) => id)).toEqual([before.id, after.id]);
    expect(host.failures).toEqual([]);
    for (const each of [queue, other.queue]) await each.stop(1000);
  });

  it('will not work with a newer release on one queue (P21)', async () => {
    const { open, shared } = world();
    const { queue, host } = await open('one');
    const entry = {
      session: 'newer',
      number: 1,
      at: 0,
      commands: [{ do: 'open', format: 99, settings: ledgerSettings() }],
    };
    await shared.commands.append(Buffer.from(JSON.stringify(entry)));
    await expect(queue.enqueue([message()])).rejects.toMatchObject({ code: 'queue.format' });
    expect(host.failures).toHaveLength(1);
    await expect(open('two')).rejects.toMatchObject({ code: 'queue.format' });
    await queue.stop(1000);
  });

  it('does not start on journals that do not belong together', async () => {
    const { open, shared } = world();
    const { queue } = await open('one');
    for (let round = 0; round < 10; round++) {
      await work(queue, { accepted: new Set(), settled: new Map(), effects: new Map() });
    }
    await queue.stop(1000);
    await shared.snapshots.trim((await shared.snapshots.bounds()).next);
    await expect(open('two')).rejects.toMatchObject({ message: expect.stringContaining('do not belong together') });
  });
});

function never(): never {
  throw new Error('there is no lease');
}
