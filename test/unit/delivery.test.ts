import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CreditPool } from '../../core/delivery/credit.ts';
import { Deadlines } from '../../core/delivery/deadlines.ts';
import { createId, isId } from '../../core/delivery/ids.ts';
import { FunctionSlots } from '../../core/delivery/slots.ts';
import { systemClock } from '../../core/contracts/clock.ts';
import { seed } from '../support/promise.ts';

const never = new AbortController().signal;

describe('ids', () => {
  it('are well formed, all different and ordered by time', () => {
    const ids = Array.from({ length: 20_000 }, (_, index) => createId(1_700_000_000_000 + index));
    expect(ids.every(isId)).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual(ids);
  });
  it('differ within one millisecond by more than a counter', () => {
    const [first, second] = [createId(5), createId(5)] as [string, string];
    const differing = first
      .slice(10)
      .split('')
      .filter((letter, index) => letter !== second[10 + index]);
    expect(differing.length).toBeGreaterThan(5);
  });
});

describe('credit', () => {
  it('is never taken beyond the limit, and waits in order', async () => {
    const pool = new CreditPool(2);
    expect([pool.tryTake(), pool.tryTake(), pool.tryTake()]).toEqual([true, true, false]);
    const order: number[] = [];
    const waits = [1, 2].map((n) => pool.take(never).then(() => order.push(n)));
    pool.giveBack();
    pool.giveBack();
    await Promise.all(waits);
    expect(order).toEqual([1, 2]);
    expect(pool.outstanding).toBe(2);
  });
  it('is not lost on a waiter that has given up', async () => {
    const pool = new CreditPool(1);
    pool.tryTake();
    const gone = new AbortController();
    const abandoned = pool.take(gone.signal);
    const patient = pool.take(never);
    gone.abort();
    pool.giveBack();
    expect(await abandoned).toBe(false);
    expect(await patient).toBe(true);
    expect(pool.outstanding).toBe(1);
  });
  it('serves waiters when the limit grows, and says when nothing is outstanding', async () => {
    const pool = new CreditPool(0);
    const wait = pool.take(never);
    pool.resize(1);
    expect(await wait).toBe(true);
    let idle = false;
    void pool.whenIdle().then(() => (idle = true));
    await Promise.resolve();
    expect(idle).toBe(false);
    pool.giveBack();
    await pool.whenIdle();
    expect(idle).toBe(true);
  });
  it('refuses to be given back more often than it was taken', () => {
    expect(() => new CreditPool(1).giveBack()).toThrow(/not been taken/);
  });
});

describe('slots', () => {
  it('serve those who wait by priority, and equals in order', async () => {
    const slots = new FunctionSlots(1, { now: () => 0, monotonic: () => 0 });
    expect(slots.tryAcquire()).toBe(true);
    const order: string[] = [];
    const waits = (
      [
        ['low', 1],
        ['first', 5],
        ['second', 5],
        ['high', 9],
      ] as const
    ).map(([name, priority]) =>
      slots.wait(priority).granted.then(() => {
        order.push(name);
        slots.release();
      }),
    );
    slots.release();
    await Promise.all(waits);
    expect(order).toEqual(['high', 'first', 'second', 'low']);
    expect(slots.running).toBe(0);
  });
  it('let the lowest priority through once it has waited long enough', async () => {
    let time = 0;
    const slots = new FunctionSlots(1, { now: () => 0, monotonic: () => time });
    slots.tryAcquire();
    const order: string[] = [];
    const low = slots.wait(0).granted.then(() => order.push('low'));
    time = 9001;
    const high = slots.wait(9).granted.then(() => order.push('high'));
    slots.release();
    await low;
    slots.release();
    await high;
    expect(order).toEqual(['low', 'high']);
  });
  it('never run more than the limit, whoever comes, leaves or ends', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { maxLength: 200 }), fc.integer({ min: 1, max: 4 }), (steps, limit) => {
        const slots = new FunctionSlots(limit, systemClock);
        const waits: { leave(): void }[] = [];
        let free = 0;
        for (const step of steps) {
          if (step === 0 && slots.tryAcquire()) free++;
          if (step === 1) waits.push(slots.wait(5));
          if (step === 2 && free > 0) {
            free--;
            slots.release();
          }
          if (step === 3) waits.shift()?.leave();
          expect(slots.running).toBeLessThanOrEqual(limit);
          expect(slots.waiting).toBeGreaterThanOrEqual(0);
        }
        for (const wait of waits) wait.leave();
        for (; free > 0; free--) slots.release();
        expect([slots.running, slots.waiting]).toEqual([0, 0]);
      }),
      { seed },
    );
  });
});

describe('deadlines', () => {
  afterEach(() => void vi.useRealTimers());

  it('expire what is due, never early, and not what was forgotten', () => {
    vi.useFakeTimers();
    let time = 0;
    const deadlines = new Deadlines({ now: () => 0, monotonic: () => time });
    const expired: [string, number][] = [];
    const item = (name: string, deadline: number) => ({
      deadline,
      previous: undefined,
      next: undefined,
      expire: () => void expired.push([name, time]),
    });
    const forgotten = item('forgotten', 60);
    for (const one of [item('soon', 30), item('late', 130), forgotten]) deadlines.watch(one);
    deadlines.forget(forgotten);
    for (; time < 200; time += 5) vi.advanceTimersByTime(5);
    expect(expired.map(([name]) => name)).toEqual(['soon', 'late']);
    for (const [name, at] of expired) expect(at).toBeGreaterThanOrEqual(name === 'soon' ? 30 : 130);
    expect(vi.getTimerCount()).toBe(0);
  });
});
