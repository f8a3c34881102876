import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../core/contracts/clock.ts';
import { MillraceError } from '../../core/contracts/errors.ts';
import type { Envelope, NewMessage, StoredResult } from '../../core/contracts/queue.ts';
import type { SqliteQueue } from '../../plugins/queues/sqlite/queue.ts';
import { sqliteQueue } from '../contract/sqlite-bench.ts';
import { plainMessage } from '../support/plain-message.ts';

const lanes = ['pay.shop', 'mail.shop', 'audit.bank'];
const signal = new AbortController().signal;
const now = { ttlMs: 60_000, waitMs: 0, signal };

/** What was put into a queue, and files of it to be damaged. */
export interface KnownQueue {
  readonly folder: string;
  /** As a stop leaves it: one file. */
  readonly closed: string;
  /** As a kill leaves it: `queue.db`, and `queue.db-wal` with the last changes. */
  readonly killed: string;
  /** Of the closed one, some time before. */
  readonly older: string;
  readonly messages: ReadonlyMap<string, NewMessage>;
  readonly results: ReadonlyMap<string, StoredResult>;
}

/** What became of a damaged queue. `wrong`: something was served that nobody gave it. */
export interface Reading {
  readonly outcome: 'refused' | 'told' | 'quiet';
  readonly wrong: readonly string[];
  /** Messages of which nothing is known any more, though nothing was told either. */
  readonly missing: number;
}

/** A queue with messages in every state, bodies of all sizes among them. */
export async function knownQueue(random: () => number, count: number): Promise<KnownQueue> {
  // In memory where there is such a folder: no power is cut here, and each copy would be synced.
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'millrace-damage-'));
  const [closed, killed, older] = ['closed', 'killed', 'older'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const each of [closed, killed, older]) mkdirSync(each);
  const messages = new Map<string, NewMessage>();
  const results = new Map<string, StoredResult>();
  const add = async (queue: SqliteQueue, from: number, to: number): Promise<void> => {
    const batch = Array.from({ length: to - from }, (_, index) => messageOf(from + index, random));
    for (const message of batch) messages.set(message.id, message);
    await queue.enqueue(batch);
  };
  const first = sqliteQueue(join(closed, 'queue.db'), systemClock);
  await first.start();
  await add(first, 0, count / 2);
  await first.stop(10_000);
  copyFileSync(join(closed, 'queue.db'), join(older, 'queue.db'));
  const queue = sqliteQueue(join(closed, 'queue.db'), systemClock);
  await queue.start();
  await add(queue, count / 2, count);
  for (const lane of lanes) {
    for (const [index, { receipt, message }] of (await queue.lease(lane, Math.floor(count / 9), now)).entries()) {
      const result = { status: 200, headers: { 'x-for': message.id }, body: bytes(message.id, 300) };
      const error = { code: 'function.failed', message: 'it failed' };
      if (index % 3 === 0) await queue.settle(receipt, { kind: 'dead', reason: 'max_attempts', error });
      else {
        await queue.settle(receipt, { kind: 'ack', result });
        results.set(message.id, result);
      }
    }
  }
  for (const name of ['queue.db', 'queue.db-wal']) copyFileSync(join(closed, name), join(killed, name));
  await queue.stop(10_000);
  return { folder, closed, killed, older, messages, results };
}

function messageOf(number: number, random: () => number): NewMessage {
  const id = `M${String(number).padStart(25, '0')}`;
  const size = random() < 0.1 ? 9000 : Math.floor(random() * 900);
  const lane = lanes[number % lanes.length] ?? '';
  const delayMs = random() < 0.2 ? 3_600_000 : undefined;
  return plainMessage(id, { lane, body: bytes(id, size), delayMs, orderKey: number % 7 === 0 ? 'a' : undefined });
}

/** Bytes that no other id has. */
function bytes(id: string, length: number): Uint8Array {
  const block = createHash('sha512').update(id).digest();
  return Buffer.concat(Array.from({ length: Math.ceil(length / block.byteLength) + 1 }, () => block)).subarray(
    0,
    length,
  );
}

/** Changes the files of a copy. */
export type Damage = (content: (name: string) => Buffer, write: (name: string, bytes: Buffer) => void) => void;

/** Opens a copy of these files after `damage` and reads all that can be read. */
export async function read(known: KnownQueue, files: string, damage: Damage): Promise<Reading> {
  const folder = mkdtempSync(join(known.folder, 'copy-'));
  try {
    for (const name of ['queue.db', 'queue.db-wal']) {
      if (existsSync(join(files, name))) copyFileSync(join(files, name), join(folder, name));
    }
    damage(
      (name) => readFileSync(join(folder, name)),
      (name, content) => writeFileSync(join(folder, name), content),
    );
    const queue = sqliteQueue(join(folder, 'queue.db'), systemClock);
    try {
      await queue.start();
    } catch (error) {
      return { outcome: 'refused', wrong: isTelling(error) ? [] : [`refused with ${String(error)}`], missing: 0 };
    }
    try {
      return await new Reader(queue, known).read();
    } finally {
      await queue.stop(10_000);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A refusal names the file. */
function isTelling(error: unknown): boolean {
  return error instanceof MillraceError && error.code.startsWith('queue.') && error.message.includes('queue.db');
}

/** Asks a queue for everything that it has. */
class Reader {
  readonly #queue: SqliteQueue;
  readonly #known: KnownQueue;
  readonly #wrong: string[] = [];
  #told = 0;

  constructor(queue: SqliteQueue, known: KnownQueue) {
    this.#queue = queue;
    this.#known = known;
  }

  async read(): Promise<Reading> {
    // All at once, so that they are one batch.
    const found = await Promise.all(Array.from(this.#known.messages.keys(), (id) => this.#record(id)));
    const missing = found.filter((one) => one === 'missing').length;
    await this.#letters();
    for (const lane of lanes) await this.#leases(lane);
    return { outcome: this.#told > 0 ? 'told' : 'quiet', wrong: this.#wrong, missing: this.#told > 0 ? 0 : missing };
  }

  async #record(id: string): Promise<'missing' | undefined> {
    const record = await this.#asked(() => this.#queue.find(id));
    if (record === 'told') return undefined;
    if (!record) return 'missing';
    this.#envelope('record', id, record.lane, record.envelope);
    const { result } = record;
    if (typeof result !== 'object') return undefined;
    const given = this.#known.results.get(id);
    const isSame = given && same(given.body, result.body) && given.headers['x-for'] === result.headers['x-for'];
    if (!isSame || given.status !== result.status) this.#wrong.push(`the result of ${id} is not its own`);
    return undefined;
  }

  async #letters(): Promise<void> {
    const page = await this.#asked(() => this.#queue.deadLetters.list({}, 1000));
    if (page === 'told') return;
    await Promise.all(
      page.items.map(async ({ id, lane, envelope }) => {
        this.#envelope('dead letter', id, lane, envelope);
        const body = await this.#asked(() => this.#queue.deadLetters.body(id));
        if (body instanceof Uint8Array) this.#body('dead letter', id, body);
      }),
    );
  }

  async #leases(lane: string): Promise<void> {
    for (;;) {
      const leases = await this.#asked(() => this.#queue.lease(lane, 200, now));
      if (leases === 'told' || leases.length === 0) break;
      for (const { message } of leases) {
        this.#envelope('message', message.id, message.lane, message.envelope);
        this.#body('message', message.id, message.body);
      }
    }
    const unreadable = await this.#asked(() => this.#queue.deadLetters.list({ reason: 'unreadable' }, 1));
    if (unreadable !== 'told' && unreadable.items.length > 0) this.#told++;
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T | 'told'> {
    try {
      return await ask();
    } catch (error) {
      if (!isTelling(error)) this.#wrong.push(`answered with ${String(error)}`);
      this.#told++;
      return 'told';
    }
  }

  #envelope(what: string, id: string, lane: string, { callId }: Envelope): void {
    if (callId === '') {
      this.#told++; // Shown as unreadable.
      return;
    }
    const given = this.#known.messages.get(id);
    if (!given || given.lane !== lane || given.envelope.callId !== callId) {
      this.#wrong.push(`the ${what} ${id} of ${lane} is ${callId} of ${given?.lane}`);
    }
  }

  #body(what: string, id: string, body: Uint8Array): void {
    const given = this.#known.messages.get(id);
    if (!given || !same(given.body, body)) this.#wrong.push(`the ${what} ${id} has the body of another`);
  }
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
