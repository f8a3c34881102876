import { describe, expect, it } from 'vitest';
import { attemptCounts, quantileSeconds } from '../../core/cli/attempt-counts.ts';
import { type Sample, viewOf } from '../../core/cli/top-view.ts';

/** As the gateway writes it; `counts` are those of each bucket alone: up to 10 ms, 100 ms, 1 s, and longer. */
function metrics(name: string, code: number, counts: readonly [number, number, number, number]): string {
  const bounds = ['0.01', '0.1', '1', '+Inf'];
  let below = 0;
  const lines = bounds.map((le, index) => {
    below += counts[index] ?? 0;
    return `gateway_functions_seconds_bucket{le="${le}",function_name="${name}",code="${code}"} ${below}`;
  });
  const labels = `{function_name="${name}",code="${code}"}`;
  return `# TYPE gateway_functions_seconds histogram\n${lines.join('\n')}\ngateway_functions_seconds_sum${labels} 1.5\ngateway_functions_seconds_count${labels} ${below}\nother{function_name="${name}"} 9\n`;
}

function sample(at: number, calls: Readonly<Record<string, number>>, text?: string): Sample {
  const functions = Object.entries(calls).map(([name, invocationCount]) => ({
    name,
    namespace: 'fn',
    state: 'ready',
    provider: 'worker',
    queue: 'default',
    replicas: 2,
    availableReplicas: 1,
    invocationCount,
    image: '',
  }));
  const row = { blocked: 0, delayed: 0, dead: 0, oldestAgeSeconds: 0, paused: false, durability: 'disk' };
  return {
    at,
    functions,
    queues: [
      { ...row, level: 'gateway', name: 'a.fn', ready: 1, leased: 3 },
      { ...row, level: 'function', name: 'a.fn', ready: 4, delayed: 5, leased: 2 },
    ],
    connectors: [
      { name: 'c', kind: 'kafka', state: 'running', inFlight: 1, credit: 9, lag: 7, settled: at / 100, reconnects: 0 },
    ],
    attempts: text === undefined ? undefined : attemptCounts(text),
  };
}

describe('what top shows', () => {
  it('is what happened between two samples, not since the start', () => {
    const before = `${metrics('a.fn', 200, [1000, 0, 0, 0])}${metrics('a.fn', 500, [7, 0, 0, 0])}`;
    const now = `${metrics('a.fn', 200, [1000, 98, 0, 0])}${metrics('a.fn', 500, [7, 0, 2, 0])}`;
    const { functions, connectors, seconds } = viewOf(
      sample(1000, { a: 10 }, before),
      sample(3000, { a: 110 }, now),
      'name',
    );
    expect(seconds).toBe(2);
    expect(functions).toEqual([
      {
        name: 'a.fn',
        state: 'ready',
        perSecond: 50,
        p50Ms: expect.closeTo(10 + (90 * 50) / 98),
        p99Ms: expect.closeTo(100 + (900 * 1) / 2),
        errorsPerSecond: 1,
        replicas: 2,
        availableReplicas: 1,
        inFlight: 3,
        queued: 10,
      },
    ]);
    expect(connectors).toEqual([{ name: 'c', kind: 'kafka', state: 'running', lag: 7, perSecond: 10, inFlight: 1 }]);
  });

  it('counts from zero where the gateway was started anew meanwhile', () => {
    const before = sample(0, { a: 1_000_000 }, metrics('a.fn', 200, [1_000_000, 0, 0, 0]));
    const [row] = viewOf(before, sample(1000, { a: 5 }, metrics('a.fn', 200, [0, 5, 0, 0])), 'name').functions;
    expect(row).toMatchObject({ perSecond: 5, p50Ms: expect.closeTo(55), errorsPerSecond: 0 });
  });

  it('says of what it cannot know that it does not', () => {
    const unknown = { p50Ms: null, p99Ms: null, errorsPerSecond: null };
    expect(viewOf(sample(0, { a: 0 }), sample(1000, { a: 5 }), 'name').functions).toMatchObject([unknown]);
    const idle = viewOf(sample(0, { a: 0 }, ''), sample(1000, { a: 0 }, ''), 'name').functions;
    expect(idle).toMatchObject([{ p50Ms: null, p99Ms: null, errorsPerSecond: 0 }]);
  });

  it('has first what was asked for', () => {
    const [before, now] = [sample(0, { a: 0, b: 0, c: 0 }), sample(1000, { a: 5, b: 9, c: 7 })];
    const names = (sorting: 'name' | 'rate' | 'in-flight'): string[] =>
      viewOf(before, now, sorting).functions.map(({ name }) => name);
    expect(names('name')).toEqual(['a.fn', 'b.fn', 'c.fn']);
    expect(names('rate')).toEqual(['b.fn', 'c.fn', 'a.fn']);
    expect(names('in-flight')[0]).toBe('a.fn');
  });

  it('has no time beyond the last bound of the histogram', () => {
    const buckets = new Map([
      [1, 0],
      [300, 1],
      [Infinity, 10],
    ]);
    expect(quantileSeconds(buckets, 0.99)).toBe(300);
    expect(quantileSeconds(new Map([[Infinity, 0]]), 0.5)).toBeNull();
  });
});
