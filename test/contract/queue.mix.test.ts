import { expect, it } from 'vitest';
import type { Queue } from '../../core/contracts/queue.ts';
import { createId } from '../../core/delivery/ids.ts';
import { expectConserved, type QueueBench, type QueueSettings } from '../../core/testing/queue-trial.ts';
import { saw, times } from '../support/promise.ts';
import { plainMessage } from '../support/plain-message.ts';
import { ledgerBench } from './ledger-bench.ts';
import { memoryBench } from './memory-bench.ts';
import { sqliteBench } from './sqlite-bench.ts';

type Bench = (settings: QueueSettings) => Promise<QueueBench & { advance(ms: number): void }>;

const benches: readonly (readonly [name: string, Bench])[] = [
  ['memory', memoryBench],
  ['sqlite', sqliteBench],
  ['ledger', (settings) => ledgerBench(settings, { snapshotBytes: 2 ** 20 })],
];

/** Messages that wait at the beginning; as many come afterwards as are run. */
const backlog = times(2000, 10_000);
/** So many are run, and so many come, in each tick: the backlog stays. */
const perTick = 37;
const tickMs = 100;
const signal = new AbortController().signal;

/** 1 : 10 : 100 */
const priorityOf = (index: number): number => (index % 111 === 0 ? 9 : index % 111 <= 10 ? 5 : 0);

interface Waited {
  readonly priority: number;
  readonly at: number;
  readonly ms: number;
}

/** What each message waited, by the queue's own clock. `flat`: the queue is told that all are alike. */
async function waits(bench: Bench, agingStepMs: number, flat = false): Promise<readonly Waited[]> {
  const made = await bench({ agingStepMs });
  const { queue } = made;
  const given = new Map<string, { readonly priority: number; readonly at: number }>();
  const waited: Waited[] = [];
  let now = 0;
  const put = async (count: number): Promise<void> => {
    const messages = Array.from({ length: count }, () => {
      const id = createId(now);
      const priority = priorityOf(given.size);
      given.set(id, { priority, at: now });
      return plainMessage(id, { priority: flat ? 5 : priority });
    });
    for (const { status } of await queue.enqueue(messages)) expect(status).toBe('accepted');
  };
  try {
    await put(backlog);
    while (waited.length < 2 * backlog) {
      now += tickMs;
      made.advance(tickMs);
      await put(perTick);
      await run(queue, perTick, (id) => {
        const { priority, at } = given.get(id) ?? { priority: -1, at: 0 };
        waited.push({ priority, at, ms: now - at });
      });
    }
    for (const stats of await queue.lanes()) expectConserved(stats);
    return waited;
  } finally {
    await made.dispose();
  }
}

async function run(queue: Queue, count: number, ran: (id: string) => void): Promise<void> {
  const leases = await queue.lease('work.default', count, { ttlMs: 60_000, waitMs: 0, signal });
  await Promise.all(
    leases.map(({ receipt, message }) => {
      ran(message.id);
      return queue.settle(receipt, { kind: 'ack' });
    }),
  );
}

function p99(waited: readonly Waited[], priority: number): number {
  const all = waited.flatMap((each) => (each.priority === priority ? [each.ms] : [])).toSorted((a, b) => a - b);
  return all[Math.ceil(all.length * 0.99) - 1] ?? Number.NaN;
}

/**
 * Low ones behind which a high one came so much later that aging had made up for its priority, and that ran first all the
 * same. A low one waits for nothing else, however many high ones come: that is the bound.
 */
function starved(waited: readonly Waited[], agingStepMs: number): number {
  const bound = 9 * agingStepMs;
  let latest = -Infinity;
  let count = 0;
  for (const { priority, at } of waited) {
    if (priority === 9) latest = Math.max(latest, at);
    else if (priority === 0 && latest > at + bound) count++;
  }
  return count;
}

/** Longer than anything waits here: what is high goes first, and nothing else counts. */
const longStepMs = 30_000;
/** So short that what waits overtakes. */
const shortStepMs = 100;

for (const [name, bench] of benches) {
  it(
    `the high ones of a mix of 1 : 10 : 100 wait a twentieth of the low ones at most, on ${name} (P7)`,
    { timeout: 120_000 },
    async ({ task }) => {
      const waited = await waits(bench, longStepMs);
      const [high, low] = [p99(waited, 9), p99(waited, 0)];
      expect(high).toBeLessThanOrEqual(low * 0.05);
      saw(task, {
        result: `${name}, backlog ${backlog}: p99 of the wait ${high} ms for high ones, ${low} ms for low ones`,
      });
    },
  );

  it(`no low one waits longer than aging lets it, on ${name} (P7)`, { timeout: 120_000 }, async () => {
    const waited = await waits(bench, shortStepMs);
    expect(starved(waited, shortStepMs)).toBe(0);
    expect(waited.some(({ priority, ms }) => priority === 0 && ms > 9 * shortStepMs)).toBe(true);
  });
}

it('a queue that does not look at priorities, and one without aging, are found out', async () => {
  const alike = await waits(memoryBench, longStepMs, true);
  expect(p99(alike, 9)).toBeGreaterThan(p99(alike, 0) * 0.05);
  expect(starved(await waits(memoryBench, longStepMs), shortStepMs)).toBeGreaterThan(0);
}, 120_000);
