import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { TokenBucket } from '../../plugins/providers/kubernetes/token-bucket.ts';
import { WorkQueue, type WorkQueueSettings } from '../../plugins/providers/kubernetes/work-queue.ts';
import { movableClock } from '../support/quiet-host.ts';

const settings: WorkQueueSettings = {
  workers: 2,
  perSecond: 1000,
  burst: 1000,
  backoff: { first: 100, most: 1000 },
};

/** A queue on a clock that is moved by hand, whose work ends when it is told to. */
function bench(own: Partial<WorkQueueSettings> = {}) {
  vi.useFakeTimers();
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const told = new Map<string, number>();
  const metrics = {
    gauge: (name: string) => ({ set: (value: number) => void told.set(name, value) }),
    counter: (name: string) => ({ inc: (by = 1) => void told.set(name, (told.get(name) ?? 0) + by) }),
  };
  const begun: string[] = [];
  const running = new Map<string, PromiseWithResolvers<void>>();
  const atOnce: number[] = [];
  const work = (key: string): Promise<void> => {
    if (running.has(key)) throw new Error(`two are at ${key}`);
    const end = Promise.withResolvers<void>();
    begun.push(key);
    running.set(key, end);
    atOnce.push(running.size);
    return end.promise.finally(() => running.delete(key));
  };
  const queue = new WorkQueue(
    'test',
    work,
    { ...settings, ...own },
    { clock, metrics, logger: pino({ level: 'silent' }) },
  );
  const settle = async (): Promise<void> => void (await vi.advanceTimersByTimeAsync(0));
  const end = async (key: string, error?: Error): Promise<void> => {
    const one = running.get(key);
    if (!one) throw new Error(`nobody is at ${key}`);
    if (error) one.reject(error);
    else one.resolve();
    await settle();
  };
  return { queue, begun, atOnce, told, end, settle };
}

afterEach(() => {
  vi.useRealTimers();
});

describe('a work queue', () => {
  it('has a key once, and looks at it again when it was added meanwhile', async () => {
    const { queue, begun, end } = bench({ workers: 1 });
    for (const key of ['a', 'b', 'b', 'b', 'a', 'a']) queue.add(key);
    expect(begun).toEqual(['a']);
    await end('a');
    await end('b');
    expect(begun).toEqual(['a', 'b', 'a']);
    await end('a');
    expect(begun).toEqual(['a', 'b', 'a']);
    expect(queue.stats).toEqual({ name: 'test', waiting: 0, running: 0, oldestAgeMs: 0 });
  });

  it('has one worker at a key, and so many at all', async () => {
    const { queue, begun, atOnce, end } = bench();
    for (const key of ['a', 'b', 'c']) queue.add(key);
    queue.add('a');
    expect(begun).toEqual(['a', 'b']);
    expect(queue.stats).toMatchObject({ waiting: 1, running: 2 });
    await end('a');
    expect(begun).toEqual(['a', 'b', 'c']);
    await end('b');
    expect(begun).toEqual(['a', 'b', 'c', 'a']);
    expect(Math.max(...atOnce)).toBe(2);
  });

  it('tries what failed again, later each time, and forgets that once it has succeeded', async () => {
    const { queue, begun, told, end } = bench();
    const waits: number[] = [];
    queue.add('a');
    for (let round = 0; round < 6; round++) {
      const before = begun.length;
      await end('a', new Error('conflict'));
      const since = performance.now();
      while (begun.length === before) await vi.advanceTimersByTimeAsync(10);
      waits.push(performance.now() - since);
    }
    expect(waits).toEqual([100, 200, 400, 800, 1000, 1000]);
    expect(told.get('test_work_retries_total')).toBe(6);
    await end('a');
    queue.add('a');
    await end('a', new Error('conflict'));
    await vi.advanceTimersByTimeAsync(100);
    expect(begun).toHaveLength(9);
  });

  it('does not let a key that fails hold up the others, and looks at it at once when it is added', async () => {
    const { queue, begun, end } = bench({ workers: 1 });
    queue.add('a');
    await end('a', new Error('no'));
    queue.add('b');
    expect(begun).toEqual(['a', 'b']);
    queue.add('a');
    await end('b');
    expect(begun).toEqual(['a', 'b', 'a']);
    await end('a');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(begun).toEqual(['a', 'b', 'a']);
  });

  it('begins no more than the rate lets it', async () => {
    const { queue, begun, end } = bench({ burst: 2, perSecond: 10, workers: 100 });
    for (const key of ['a', 'b', 'c', 'd']) queue.add(key);
    expect(begun).toEqual(['a', 'b']);
    await vi.advanceTimersByTimeAsync(99);
    expect(begun).toEqual(['a', 'b']);
    await vi.advanceTimersByTimeAsync(1);
    expect(begun).toEqual(['a', 'b', 'c']);
    await vi.advanceTimersByTimeAsync(100);
    expect(begun).toEqual(['a', 'b', 'c', 'd']);
    for (const key of begun) await end(key);
  });

  it('performs what somebody waits for in the same line, and tells him what came of it', async () => {
    const { queue, begun, end, settle } = bench();
    queue.add('a');
    const order: string[] = [];
    const first = queue.perform('a', async () => void order.push('first'));
    const second = queue.perform('a', async () => {
      throw new Error('not so');
    });
    const other = queue.perform('b', async () => 7);
    expect(await other).toBe(7);
    expect(order).toEqual([]);
    queue.add('a');
    await Promise.all([end('a'), first, expect(second).rejects.toThrow('not so')]);
    await settle();
    expect(order).toEqual(['first']);
    expect(begun).toEqual(['a', 'a']);
    await end('a');
    expect(queue.stats).toMatchObject({ waiting: 0, running: 0 });
  });

  it('tells how long the oldest waits, for its next try as well', async () => {
    const { queue, end, told } = bench({ workers: 1, backoff: { first: 60_000, most: 60_000 } });
    queue.add('a');
    await end('a', new Error('no'));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(queue.stats).toEqual({ name: 'test', waiting: 1, running: 0, oldestAgeMs: 10_000 });
    expect(told.get('test_work_oldest_seconds')).toBe(10);
    expect(told.get('test_work_waiting')).toBe(1);
  });

  it('stops when what is under way has ended, and begins nothing more', async () => {
    const { queue, begun, end } = bench({ workers: 1 });
    queue.add('a');
    queue.add('b');
    const asked = queue.perform('b', async () => {});
    const refused = expect(asked).rejects.toMatchObject({ code: 'gateway.stopping' });
    let isStopped = false;
    const stopping = queue.stop(5000).then(() => (isStopped = true));
    await refused;
    queue.add('c');
    await vi.advanceTimersByTimeAsync(1000);
    expect(isStopped).toBe(false);
    await end('a');
    await stopping;
    expect(begun).toEqual(['a']);
    await expect(queue.perform('d', async () => {})).rejects.toMatchObject({ code: 'gateway.stopping' });
  });

  it('stops at the deadline when something does not end', async () => {
    const { queue } = bench();
    queue.add('a');
    const stopping = queue.stop(5000);
    await vi.advanceTimersByTimeAsync(5000);
    await stopping;
  });
});

describe('a token bucket', () => {
  it('fills up to its size', () => {
    const clock = movableClock();
    const bucket = new TokenBucket({ perSecond: 2, burst: 3 }, clock);
    const taken = (): number[] => [bucket.take(), bucket.take(), bucket.take(), bucket.take()];
    expect(taken()).toEqual([0, 0, 0, 500]);
    clock.advance(500);
    expect(bucket.take()).toBe(0);
    clock.advance(60_000);
    expect(taken()).toEqual([0, 0, 0, 500]);
  });
});
