import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../core/contracts/clock.ts';
import type { Lease, Queue } from '../../core/contracts/queue.ts';
import { createId } from '../../core/delivery/ids.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';
import { sqliteConfig } from '../../plugins/queues/sqlite/index.ts';
import { SqliteQueue } from '../../plugins/queues/sqlite/queue.ts';
import { sqliteQueue } from '../contract/sqlite-bench.ts';
import { plainMessage } from '../support/plain-message.ts';
import { quietHost } from '../support/quiet-host.ts';

const laneName = 'work.default';
const signal = new AbortController().signal;
let folder: string;
let path: string;
const closing: (() => void | Promise<void>)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-sqlite-'));
  path = join(folder, 'queue.sqlite');
});
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
  rmSync(folder, { recursive: true, force: true });
});

async function open(clock: Clock = systemClock, at = path): Promise<Queue> {
  const queue = sqliteQueue(at, clock);
  await queue.start();
  closing.push(() => queue.stop(5000));
  return queue;
}

function lease(queue: Queue, max = 1, ttlMs = 60_000): Promise<Lease[]> {
  return queue.lease(laneName, max, { ttlMs, waitMs: 0, signal });
}

/** A process with the queue, and the lines that it has printed so far. */
async function processWith(task: string): Promise<{ child: ChildProcess; lines: string[]; ended: Promise<unknown> }> {
  const file = join(import.meta.dirname, '../support/sqlite-queue-process.ts');
  const child = spawn(process.execPath, [file, path, task], { stdio: ['ignore', 'pipe', 'inherit'] });
  closing.push(() => void child.kill('SIGKILL'));
  const lines: string[] = [];
  const ended = new Promise((resolve) => child.once('close', resolve));
  const first = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    first.resolve();
  });
  await Promise.race([first.promise, ended]);
  return { child, lines, ended };
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error('it did not come to be within 20 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('the file of a queue', () => {
  it('is refused while another process has it, with the path and what to do', async () => {
    await open();
    const { lines, ended } = await processWith('hold');
    await ended;
    expect(lines).toEqual([`queue.locked another process holds ${path}: stop it, or give this queue another path`]);
  });

  it('is refused while another queue of the same process has it', async () => {
    await open();
    await expect(sqliteQueue(path, systemClock).start()).rejects.toMatchObject({ code: 'queue.locked' });
  });

  it('is refused, and left as it is, when a newer release wrote it (P21)', async () => {
    await (await open()).stop(5000);
    const database = new DatabaseSync(path);
    database.exec('PRAGMA user_version = 99');
    database.close();
    const before = readFileSync(path);
    await expect(open()).rejects.toMatchObject({
      code: 'queue.format',
      message: expect.stringContaining('has format 99, written by a newer release of Millrace; this one knows 2'),
    });
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it('is read when a release before this one wrote it, whose sums did not say whose they are', async () => {
    const first = await open();
    const ids = [createId(1), createId(2)];
    await first.enqueue(ids.map((id) => plainMessage(id)));
    await first.stop(5000);
    const database = new DatabaseSync(path);
    const update = database.prepare('UPDATE content SET text_sum = ?, body_sum = ? WHERE seq = ?');
    for (const { seq, text, body } of database.prepare('SELECT seq, text, body FROM content').all()) {
      update.run(crc32(String(text)), crc32(body as Uint8Array), Number(seq));
    }
    database.exec('PRAGMA user_version = 1');
    database.close();
    const queue = await open();
    const newer = createId(3);
    await queue.enqueue([plainMessage(newer)]);
    const leases = await lease(queue, 10);
    expect(leases.map(({ message }) => Buffer.from(message.body).toString())).toEqual(
      [...ids, newer].map((id) => `body of ${id}`),
    );
  });

  it('is refused, and left as it is, when it is the database of another program', async () => {
    const database = new DatabaseSync(path);
    database.exec('CREATE TABLE theirs (text TEXT); INSERT INTO theirs VALUES (1)');
    database.close();
    const before = readFileSync(path);
    await expect(open()).rejects.toMatchObject({
      code: 'queue.format',
      message: expect.stringContaining('another program'),
    });
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it('is refused when it is no database at all', async () => {
    writeFileSync(path, 'some notes that somebody keeps\n'.repeat(1000));
    await expect(open()).rejects.toMatchObject({ code: 'queue.format' });
  });

  it('may lie in a folder that does not exist yet', async () => {
    const queue = await open(systemClock, join(folder, 'a', 'b', 'queue.sqlite'));
    expect(await queue.lanes()).toEqual([]);
  });
});

describe('after kill -9', () => {
  it('everything that was acknowledged is there, once and whole', async () => {
    const { child, lines, ended } = await processWith('enqueue');
    await until(() => lines.length > 500);
    child.kill('SIGKILL');
    await ended;
    const acknowledged = lines.slice(1).filter((line) => line.length === 26);
    const queue = await open();
    const found = new Map<string, string>();
    for (let leases = await lease(queue, 64); leases.length > 0; leases = await lease(queue, 64)) {
      for (const { message } of leases) {
        expect(found.has(message.id)).toBe(false);
        found.set(message.id, Buffer.from(message.body).toString());
      }
    }
    for (const id of acknowledged) expect(found.get(id)).toBe(`body of ${id}`);
    expect(found.size - acknowledged.length).toBeLessThanOrEqual(17);
    const [lane] = await queue.lanes();
    expect(lane).toMatchObject({ ready: 0, leased: found.size, totals: { accepted: found.size } });
  });

  it('what was leased is ready at once, its attempt counted, until its attempts are used up', async () => {
    const first = await open();
    const id = createId(Date.now());
    await first.enqueue([plainMessage(id, { maxAttempts: 2 })]);
    await first.stop(5000);
    for (const attempt of [1, 2]) {
      const { child, lines, ended } = await processWith('lease');
      await until(() => lines.length >= 2);
      expect(lines[1]).toBe(`${id} ${attempt}`);
      child.kill('SIGKILL');
      await ended;
    }
    const queue = await open();
    expect(await queue.find(id)).toMatchObject({
      state: 'dead',
      deadReason: 'crashed',
      attempt: 2,
      errors: [
        { attempt: 1, code: 'function.crashed' },
        { attempt: 2, code: 'function.crashed' },
      ],
    });
    expect((await queue.deadLetters.list({}, 10)).items.map((letter) => letter.id)).toEqual([id]);
  });
});

describe('when the wall clock jumps', () => {
  function jumpingClock(): Clock & { jump(ms: number): void; advance(ms: number): void } {
    const steady = manualClock();
    let off = 0;
    return {
      now: () => steady.now() + off,
      monotonic: () => steady.monotonic(),
      advance: (ms) => steady.advance(ms),
      jump: (ms) => {
        off += ms;
      },
    };
  }

  it.each([86_400_000, -86_400_000])('by %d ms no lease runs out early and no retry is late', async (jumpMs) => {
    const clock = jumpingClock();
    const queue = await open(clock);
    await queue.enqueue([plainMessage(createId(1)), plainMessage(createId(2), { delayMs: 5000 })]);
    const [held] = await lease(queue, 1, 10_000);
    clock.jump(jumpMs);
    clock.advance(4999);
    expect(await lease(queue, 10)).toEqual([]);
    clock.advance(1);
    expect(await lease(queue, 10)).toHaveLength(1);
    expect(held && (await queue.settle(held.receipt, { kind: 'ack' }))).toBe('settled');
  });

  it('is caught when leases go by it', async () => {
    const clock = jumpingClock();
    const queue = await open({ now: () => clock.now(), monotonic: () => clock.now() });
    await queue.enqueue([plainMessage(createId(1))]);
    const [held] = await lease(queue, 1, 10_000);
    clock.jump(86_400_000);
    expect(await lease(queue, 10)).toHaveLength(1);
    expect(held && (await queue.settle(held.receipt, { kind: 'ack' }))).toBe('stale');
  });

  it('back while it is stopped, a delay still takes no longer than it was to', async () => {
    const clock = jumpingClock();
    const first = await open(clock);
    await first.enqueue([plainMessage(createId(1), { delayMs: 5000 })]);
    await first.stop(5000);
    clock.jump(-86_400_000);
    const queue = await open(clock);
    expect(await lease(queue)).toEqual([]);
    clock.advance(5000);
    expect(await lease(queue)).toHaveLength(1);
  });
});

describe('when the disk is full', () => {
  it('it refuses and changes nothing, and goes on when there is space again', async ({ skip }) => {
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'tmpfs', disk], { stdio: 'ignore' });
    } catch {
      skip('a small file system cannot be mounted here');
    }
    closing.push(() => void execFileSync('umount', [disk]));
    writeFileSync(join(disk, 'ballast'), Buffer.alloc(20 * 2 ** 20));
    const queue = await open(systemClock, join(disk, 'queue.sqlite'));
    const accepted: string[] = [];
    const body = Buffer.alloc(20_000, 'x');
    const fill = async (): Promise<void> => {
      while (accepted.length < 10_000) {
        const id = createId(Date.now());
        await queue.enqueue([plainMessage(id, { body })]);
        accepted.push(id);
      }
    };
    await expect(fill()).rejects.toMatchObject({ code: 'queue.disk-full', retryAfterSeconds: 5 });
    expect(queue.draining?.()).toContain('bytes left');
    expect(accepted.length).toBeGreaterThan(100);
    expect(await queue.lanes()).toMatchObject([{ ready: accepted.length, bytes: accepted.length * 20_000 }]);
    rmSync(join(disk, 'ballast'));
    const id = createId(Date.now());
    expect(await queue.enqueue([plainMessage(id)])).toEqual([{ status: 'accepted', id }]);
    expect(queue.draining?.()).toBeUndefined();
    const ids = new Set<string>();
    for (let leases = await lease(queue, 64); leases.length > 0; leases = await lease(queue, 64)) {
      for (const { message } of leases) ids.add(message.id);
      await Promise.all(leases.map(({ receipt }) => queue.settle(receipt, { kind: 'ack' })));
    }
    expect([...accepted, id].filter((one) => !ids.has(one))).toEqual([]);
  });
});

describe('when its thread ends by itself', () => {
  it('everything that waits is refused, and the instance is reported as failed', async () => {
    const threads: Worker[] = [];
    const keep = (thread: Worker): void => void threads.push(thread);
    process.on('worker', keep);
    closing.push(() => void process.off('worker', keep));
    const host = quietHost(systemClock);
    const queue = new SqliteQueue(sqliteConfig.parse({ path }), host);
    await queue.start();
    const id = createId(1);
    await queue.enqueue([plainMessage(id)]);
    const waits = [
      queue.lease('other.default', 1, { ttlMs: 1000, waitMs: 60_000, signal }),
      queue.finished(id, signal),
    ].map((wait) => wait.catch((error: unknown) => error));
    await queue.lanes();
    await threads[0]?.terminate();
    for (const outcome of await Promise.all(waits)) expect(outcome).toMatchObject({ code: 'queue.unavailable' });
    expect(host.failures).toMatchObject([{ code: 'queue.unavailable' }]);
    await expect(queue.lanes()).rejects.toMatchObject({ code: 'queue.unavailable' });
    await queue.stop(1000);
    expect(await (await open()).find(id)).toMatchObject({ state: 'queued' });
  });
});

describe('what was damaged on the disk', () => {
  it('is never served: the message is dead as unreadable', async () => {
    const first = await open();
    const [bad, good] = [createId(1), createId(2)];
    await first.enqueue([plainMessage(bad), plainMessage(good)]);
    await first.stop(5000);
    const database = new DatabaseSync(path);
    database.prepare(`UPDATE content SET body = x'00' WHERE text LIKE ?`).run(`%${bad}%`);
    database.close();
    const queue = await open();
    expect((await lease(queue, 10)).map(({ message }) => message.id)).toEqual([good]);
    expect(await queue.find(bad)).toMatchObject({ state: 'dead', deadReason: 'unreadable' });
    await expect(queue.deadLetters.body(bad)).rejects.toMatchObject({ code: 'queue.unavailable' });
    expect((await queue.deadLetters.list({}, 10)).items).toHaveLength(1);
  });

  it('a message that cannot be kept is refused alone, not with what others sent in the same batch', async () => {
    const queue = await open();
    const results = await Promise.allSettled([
      queue.enqueue([plainMessage(createId(1))]),
      queue.enqueue([plainMessage(createId(2), { delayMs: Number.NaN })]),
      queue.enqueue([plainMessage(createId(3))]),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });
});

describe('records of what has ended', () => {
  it('are removed, with all that belonged to them, once nobody may ask any more', async () => {
    const clock = manualClock();
    const queue = await open(clock);
    const id = createId(1);
    await queue.enqueue([plainMessage(id, { dedupKey: 'a', dedupWindowMs: 1000 })]);
    const [leased] = await lease(queue);
    const result = { status: 200, headers: {}, body: Buffer.from('done') };
    if (leased) await queue.settle(leased.receipt, { kind: 'ack', result });
    expect(await queue.find(id)).toMatchObject({ state: 'succeeded', result: { status: 200 } });
    clock.advance(60_001);
    expect(await queue.find(id)).toMatchObject({ state: 'succeeded', result: 'expired' });
    clock.advance(86_400_000);
    expect(await queue.find(id)).toBeUndefined();
    await queue.stop(5000);
    const database = new DatabaseSync(path);
    for (const table of ['message', 'content', 'result', 'attempt_error', 'letter', 'dedup']) {
      expect(database.prepare(`SELECT count(*) AS rows FROM ${table}`).get()).toEqual({ rows: 0 });
    }
    database.close();
  });
});
