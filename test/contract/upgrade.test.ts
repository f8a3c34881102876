import { cpSync, globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, it } from 'vitest';
import type { Lease, Queue } from '../../core/contracts/queue.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';
import { expectConserved } from '../../core/testing/queue-trial.ts';
import { schemaVersion } from '../../plugins/queues/sqlite/schema.ts';
import { plainMessage } from '../support/plain-message.ts';
import { saw } from '../support/promise.ts';
import { body, error, files, hour, lane, madeAt, openStore, result } from '../support/store-fixture.ts';
import { sqliteQueue } from './sqlite-bench.ts';

/** One for each format that a release has written; `test/support/store-fixture.ts` makes that of today. */
const fixtures = globSync('store-v*', { cwd: join(import.meta.dirname, '../fixtures') }).toSorted();
const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

function copyOf(fixture: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-upgrade-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(join(import.meta.dirname, '../fixtures', fixture), folder, { recursive: true });
  return folder;
}

/** Opens the queue as a gateway of today would, a minute later, and runs all that is in it; returns what ran, as it came. */
async function drained(folder: string): Promise<readonly string[]> {
  const clock = manualClock(madeAt + 60_000);
  const queue: Queue = sqliteQueue(join(folder, files.queue), clock);
  await queue.start();
  cleanups.push(() => queue.stop(5000));

  expect(await queue.find('done')).toMatchObject({ state: 'succeeded', attempt: 1 });
  const kept = (await queue.find('done'))?.result;
  expect(kept).toMatchObject({ status: result.status, headers: result.headers });
  expect(kept !== 'expired' && kept && result.body.equals(kept.body)).toBe(true);
  expect(await queue.find('cancelled')).toMatchObject({ state: 'cancelled' });
  expect(await queue.find('failed')).toMatchObject({ state: 'failed', errors: [error], dueAt: madeAt + hour });
  const { items } = await queue.deadLetters.list({}, 10);
  expect(items).toMatchObject([
    { id: 'dead', reason: 'permanent', attempt: 1, errors: [error], bodyBytes: body.length },
  ]);
  expect(body.equals((await queue.deadLetters.body('dead')) ?? Buffer.alloc(0))).toBe(true);
  const again = plainMessage('again', { dedupKey: 'k', dedupWindowMs: 24 * hour });
  expect(await queue.enqueue([again])).toEqual([{ status: 'duplicate', id: 'deduplicated' }]);

  const ran: string[] = [];
  const run = async (from: string): Promise<void> => {
    const lease = (max: number): Promise<Lease[]> =>
      queue.lease(from, max, { ttlMs: 60_000, waitMs: 0, signal: new AbortController().signal });
    for (let leases = await lease(9); leases.length > 0; leases = await lease(9)) {
      for (const { message, attempt, receipt } of leases) {
        expect(body.equals(message.body), message.id).toBe(true);
        ran.push(`${message.id} ${attempt}`);
        expect(await queue.settle(receipt, { kind: 'ack' })).toBe('settled');
      }
    }
  };
  await run(lane);
  await run('paused.default');
  await queue.resume('paused.default');
  await run('paused.default');
  clock.advance(hour);
  await run(lane);
  clock.advance(hour);
  await run(lane);
  expect(await queue.deadLetters.replay('dead', { id: 'replayed' })).toBe(true);
  await run(lane);
  expect(await queue.find('expired')).toMatchObject({ state: 'expired' });
  for (const stats of await queue.lanes()) {
    expectConserved(stats);
    expect([stats.ready, stats.blocked, stats.delayed, stats.leased], 'what is left').toEqual([0, 0, 0, 0]);
  }
  return ran;
}

describe.each(fixtures)('the files of %s', (fixture) => {
  it('are opened by this release, and drained (P21)', async ({ task }) => {
    const ran = await drained(copyOf(fixture));
    expect(ran).toEqual([
      'urgent 1',
      'leased 2', // What its gateway had, which is dead.
      'keyed-1 1',
      'deduplicated 1',
      'keyed-2 1',
      'paused 1',
      'failed 2',
      'delayed 1',
      'replayed 1',
    ]);
    saw(task, {
      result: `${basename(fixture)}: ${ran.length} runs, each with its bytes; results, letters and records as they were`,
    });
  });

  it('have the records of the store', async () => {
    const folder = copyOf(fixture);
    const clock = manualClock(madeAt + 60_000);
    const store = await openStore(folder, clock);
    cleanups.push(() => store.stop(5000));
    expect(await store.get('cron/nightly')).toMatchObject({
      value: '{"lastSlot":"2026-11-29T00:00:00.000Z"}',
      version: 2,
    });
    expect(await store.get('short')).toMatchObject({ value: 'x' });
    clock.advance(hour);
    expect(await store.get('short')).toBeUndefined();
    expect(await store.list('', 10)).toEqual(['cron/nightly']);
  });

  it('would not be said to be drained if an upgrade lost a row', async () => {
    const folder = copyOf(fixture);
    const database = new DatabaseSync(join(folder, files.queue));
    database.exec(`DELETE FROM message WHERE id = 'delayed'`);
    database.close();
    await expect(drained(folder)).rejects.toThrow('what is left');
  });
});

it('there are files of the format of this release', () => {
  expect(fixtures).toContain(`store-v${schemaVersion}`);
});

// That N-1 and N work together on one broker can be shown from the first tag on: until then there is no N-1.
