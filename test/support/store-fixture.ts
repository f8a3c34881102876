/**
 * The files of a queue and of a store as this release writes them, with everything in them that a file can hold. At each
 * release, once: `node test/support/store-fixture.ts test/fixtures/store-vN`, where N is `schemaVersion` of the queue; files of
 * older formats stay, and `test/contract/upgrade.test.ts` opens all of them.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Queue } from '../../core/contracts/queue.ts';
import type { Store } from '../../core/contracts/store.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';
import sqliteStore from '../../plugins/stores/sqlite/index.ts';
import { sqliteQueue } from '../contract/sqlite-bench.ts';
import { plainMessage } from './plain-message.ts';
import { quietHost } from './quiet-host.ts';

/** When it was, by the clock of the queue. */
export const madeAt = Date.UTC(2026, 10, 28);
export const hour = 3_600_000;
export const lane = 'work.default';
export const files = { queue: 'queue.db', store: 'store.db' } as const;

/** A character of four bytes, a byte that is no text, and more than a page of them. */
export const body = Buffer.concat([Buffer.from('🧵 body'), Buffer.from([0, 255]), Buffer.alloc(9000, 'x')]);
export const result = { status: 201, headers: { 'x-kept': ['a', 'b'] }, body: Buffer.from([0, 255, 10]) } as const;
export const error = { code: 'function.failed', message: 'it failed', status: 500 } as const;

const signal = new AbortController().signal;

async function fill(queue: Queue): Promise<void> {
  const put = (id: string, options: Parameters<typeof plainMessage>[1] = {}) =>
    queue.enqueue([plainMessage(id, { body, ...options, resultTtlMs: 30 * 24 * hour })]);
  const leaseOne = async () => {
    const [lease] = await queue.lease(lane, 1, { ttlMs: 60_000, waitMs: 0, signal });
    if (!lease) throw new Error('there is nothing to lease');
    return lease;
  };
  await put('done');
  await queue.settle((await leaseOne()).receipt, { kind: 'ack', result });
  await put('dead');
  await queue.settle((await leaseOne()).receipt, { kind: 'dead', reason: 'permanent', error });
  await put('failed', { maxAttempts: 5 });
  await queue.settle((await leaseOne()).receipt, { kind: 'retry', delayMs: hour, error });
  await put('leased');
  await leaseOne();
  await put('cancelled');
  await queue.cancel('cancelled');
  await put('expired', { maxAgeMs: hour, delayMs: 2 * hour });
  await put('delayed', { delayMs: hour });
  await put('deduplicated', { dedupKey: 'k', dedupWindowMs: 24 * hour, priority: 1 });
  await put('keyed-1', { orderKey: 'customer' });
  await put('keyed-2', { orderKey: 'customer' });
  await put('urgent', { priority: 9 });
  await queue.pause('paused.default');
  await put('paused', { lane: 'paused.default' });
}

export async function openStore(folder: string, clock = manualClock(madeAt)): Promise<Store> {
  const store: Store = sqliteStore.create(sqliteStore.config.parse({ path: files.store }), quietHost(clock, folder));
  await store.start();
  return store;
}

async function write(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const queue = sqliteQueue(join(folder, files.queue), manualClock(madeAt));
  await queue.start();
  await fill(queue);
  // It settles nothing of a lease, so that this is what a process that was killed would leave.
  await queue.stop(5000);
  const store = await openStore(folder);
  await store.put('cron/nightly', '{"lastSlot":"2026-11-28T00:00:00.000Z"}');
  await store.put('cron/nightly', '{"lastSlot":"2026-11-29T00:00:00.000Z"}');
  await store.put('short', 'x', { ttlMs: hour });
  await store.stop(5000);
}

if (import.meta.main) {
  const [, , folder] = process.argv;
  if (folder === undefined)
    throw new Error('expected a folder: node test/support/store-fixture.ts test/fixtures/store-vN');
  await write(resolve(folder));
}
