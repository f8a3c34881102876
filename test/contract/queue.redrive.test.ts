import { createHash, randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import type { DeadLetter, Lease, Queue } from '../../core/contracts/queue.ts';
import { createId } from '../../core/delivery/ids.ts';
import { expectConserved, type QueueBench } from '../../core/testing/queue-trial.ts';
import { plainMessage } from '../support/plain-message.ts';
import { saw, times } from '../support/promise.ts';
import { ledgerBench } from './ledger-bench.ts';
import { memoryBench } from './memory-bench.ts';
import { sqliteBench } from './sqlite-bench.ts';

const benches: readonly (readonly [name: string, () => Promise<QueueBench>])[] = [
  ['memory', memoryBench],
  ['sqlite', sqliteBench],
  ['ledger', () => ledgerBench({}, { snapshotBytes: 2 ** 20 })],
];
const letters = times(1000, 10_000);
const lane = 'work.default';
const error = { code: 'function.failed', message: 'no', status: 500 };
const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function leased(queue: Queue): Promise<Lease[]> {
  return queue.lease(lane, 200, { ttlMs: 60_000, waitMs: 0, signal: new AbortController().signal });
}

/** Every letter, page by page. */
async function allLetters(queue: Queue): Promise<DeadLetter[]> {
  const found: DeadLetter[] = [];
  let cursor: string | undefined;
  do {
    const page = await queue.deadLetters.list({}, 97, cursor);
    found.push(...page.items);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return found;
}

/** Messages that fail for good, are read as letters, are replayed and run; returns the sums of the bodies at each of these. */
async function redrive(queue: Queue, count: number, lost = 0) {
  const given = Array.from({ length: count }, () =>
    plainMessage(createId(Date.now()), { body: randomBytes(1 + (count % 3000)) }),
  );
  for (let at = 0; at < count; at += 500) await queue.enqueue(given.slice(at, at + 500));
  for (let leases = await leased(queue); leases.length > 0; leases = await leased(queue)) {
    await Promise.all(leases.map(({ receipt }) => queue.settle(receipt, { kind: 'dead', reason: 'permanent', error })));
  }
  const found = await allLetters(queue);
  const read = await Promise.all(
    found.map(async ({ id }) => sumOf((await queue.deadLetters.body(id)) ?? Buffer.alloc(0))),
  );
  for (const { errors, attempt } of found) expect([errors, attempt]).toMatchObject([[error], 1]);
  for (const { id } of found.slice(lost))
    expect(await queue.deadLetters.replay(id, { id: createId(Date.now()) })).toBe(true);
  const ran: string[] = [];
  for (let leases = await leased(queue); leases.length > 0; leases = await leased(queue)) {
    ran.push(...leases.map(({ message }) => sumOf(message.body)));
    await Promise.all(leases.map(({ receipt }) => queue.settle(receipt, { kind: 'ack' })));
  }
  for (const stats of await queue.lanes()) expectConserved(stats);
  return { given: given.map(({ body }) => sumOf(body)).toSorted(), read: read.toSorted(), ran: ran.toSorted() };
}

for (const [name, create] of benches) {
  it(
    `${letters} dead letters are all there, once, whole, and run when they are replayed, on ${name} (P5)`,
    { timeout: 300_000 },
    async ({ task }) => {
      const bench = await create();
      try {
        const { given, read, ran } = await redrive(bench.queue, letters);
        expect(read).toEqual(given);
        expect(ran).toEqual(given);
        expect((await bench.queue.deadLetters.list({}, 1)).items).toEqual([]);
        saw(task, { result: `${name}: ${letters} letters, ${ran.length} run again` });
      } finally {
        await bench.dispose();
      }
    },
  );
}

it('a letter that is not replayed is missed', async () => {
  const bench = await memoryBench();
  const { given, ran } = await redrive(bench.queue, 20, 1);
  expect(ran).toHaveLength(given.length - 1);
  await bench.dispose();
});
