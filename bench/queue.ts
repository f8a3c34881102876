/**
 * What the embedded queue does in a second, empty, and then behind and beside a backlog (default 1,000,000), which must make
 * it no slower: `node bench/queue.ts [backlog] [cycle]`. Tells what it does on stderr, and what it found in one line of JSON ({@link Growth}).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { sleep, systemClock } from '../core/contracts/clock.ts';
import type { PluginHost } from '../core/contracts/definition.ts';
import type { NewMessage } from '../core/contracts/queue.ts';
import { createId } from '../core/delivery/ids.ts';
import { sqliteConfig } from '../plugins/queues/sqlite/index.ts';
import { SqliteQueue } from '../plugins/queues/sqlite/queue.ts';
import { quantile } from './measure.ts';

const backlog = Number(process.argv[2] ?? 1_000_000);
const cycle = Number(process.argv[3] ?? 100_000);
// Beside the sources and not in /tmp, which may be memory.
const folder = mkdtempSync(join(import.meta.dirname, '..', '.bench-'));
const path = join(folder, 'queue.sqlite');
const body = Buffer.alloc(256, 'b');
const signal = new AbortController().signal;

const host: PluginHost = {
  name: 'bench',
  logger: pino({ level: 'warn' }),
  clock: systemClock,
  metrics: { counter: () => ({ inc: () => {} }), gauge: () => ({ set: () => {} }) },
  signal,
  baseFolder: folder,
  connection: () => {
    throw new Error('there is no connection here');
  },
  fail: (error) => {
    throw error;
  },
};

function message(lane: string): NewMessage {
  const id = createId(Date.now());
  return {
    id,
    lane,
    envelope: {
      callId: id,
      method: 'POST',
      path: '/',
      query: '',
      headers: { 'content-type': 'application/json', 'user-agent': 'bench/1', 'x-request-id': id },
      source: 'http',
      depth: 0,
      acceptedAt: Date.now(),
    },
    body,
    priority: 5,
    maxAttempts: 3,
    resultTtlMs: 3_600_000,
  };
}

async function open(): Promise<SqliteQueue> {
  const queue = new SqliteQueue(sqliteConfig.parse({ path }), host);
  await queue.start();
  return queue;
}

async function parallel(count: number, work: () => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, work));
}

async function enqueue(queue: SqliteQueue, lane: string, count: number): Promise<number[]> {
  let left = count;
  const latencies: number[] = [];
  await parallel(64, async () => {
    while (left-- > 0) {
      const start = performance.now();
      await queue.enqueue([message(lane)]);
      latencies.push(performance.now() - start);
    }
  });
  return latencies;
}

async function drain(queue: SqliteQueue, lane: string, count: number): Promise<void> {
  let left = count;
  await parallel(4, async () => {
    while (left > 0) {
      const leases = await queue.lease(lane, 32, { ttlMs: 30_000, waitMs: 0, signal });
      if (leases.length === 0) return;
      left -= leases.length;
      await Promise.all(leases.map(({ receipt }) => queue.settle(receipt, { kind: 'ack' })));
    }
  });
}

/** Of one second; of an empty queue, and of lanes behind and beside the backlog. */
interface Rates {
  readonly enqueue: number[];
  readonly drain: number[];
}

export interface Growth {
  readonly backlog: number;
  readonly empty: Rates;
  readonly behind: Rates;
  readonly beside: Rates;
  /** Of resident memory, of all threads, for an item of the backlog. */
  readonly bytesPerItem: number;
  /** From opening the file to the first lease. */
  readonly readyMs: number;
}

function report(name: string, count: number, ms: number, latencies: number[] = []): number {
  const perSecond = Math.round((count / ms) * 1000);
  const sorted = latencies.toSorted((a, b) => a - b);
  const tail =
    sorted.length > 0
      ? `  p50 ${quantile(sorted, 0.5).toFixed(1)} ms, p99 ${quantile(sorted, 0.99).toFixed(1)} ms`
      : '';
  console.error(`${name.padEnd(44)} ${String(perSecond).padStart(8)}/s${tail}`);
  return perSecond;
}

async function measure(queue: SqliteQueue, lane: string, what: string, rates: Rates): Promise<void> {
  let start = performance.now();
  const latencies = await enqueue(queue, lane, cycle);
  rates.enqueue.push(report(`enqueue, 64 in flight, ${what}`, cycle, performance.now() - start, latencies));
  start = performance.now();
  await drain(queue, lane, cycle);
  rates.drain.push(report(`lease and ack, 4 × 32, ${what}`, cycle, performance.now() - start));
}

const [empty, behind, beside] = [0, 1, 2].map((): Rates => ({ enqueue: [], drain: [] })) as [Rates, Rates, Rates];
let queue = await open();
await enqueue(queue, 'warm', 5000);
await drain(queue, 'warm', 5000);
for (let round = 0; round < 3; round++) await measure(queue, 'busy', 'empty', empty);
const before = process.memoryUsage().rss;
const start = performance.now();
for (let done = 0; done < backlog; done += 500) {
  await queue.enqueue(Array.from({ length: 500 }, () => message('busy')));
}
report('enqueue by 500', backlog, performance.now() - start);
const bytesPerItem = (process.memoryUsage().rss - before) / backlog;
// A gigabyte that the system has still to write would be measured as if it were ours.
await sleep(10_000);
for (let round = 0; round < 3; round++) {
  await measure(queue, 'busy', `behind ${backlog}`, behind);
  await measure(queue, 'other', `beside ${backlog}`, beside);
}
await queue.stop(60_000);
const opening = performance.now();
queue = await open();
await queue.lease('busy', 1, { ttlMs: 30_000, waitMs: 0, signal });
const readyMs = performance.now() - opening;
await queue.stop(60_000);
rmSync(folder, { recursive: true });
console.log(JSON.stringify({ backlog, empty, behind, beside, bytesPerItem, readyMs } satisfies Growth));
