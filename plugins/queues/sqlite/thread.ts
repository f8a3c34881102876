import type { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { MillraceError, messageOf } from '../../../core/contracts/errors.ts';
import { failpoint, planted } from '../../../core/delivery/failpoint.ts';
import { Disk } from './disk.ts';
import { Due } from './due.ts';
import { type Lane, Lanes, type Waiter } from './lanes.ts';
import { Damaged, Letters } from './letters.ts';
import { Messages } from './messages.ts';
import type { Answers, FromThread, Operation, PackedLease, PackedRecord, Settings, ToThread } from './protocol.ts';
import { Records } from './records.ts';
import { openDatabase } from './schema.ts';
import { Step } from './step.ts';

type Batch = Extract<ToThread, { kind: 'batch' }>;

/** So often it is looked whether a full disk has space again. */
const lookAgainMs = 1000;

/** A body of this many bytes or more is handed over rather than copied. */
const transferBytes = 4096;

/** For the chaos kit only: bugs that it plants, to see that it finds them (test/chaos/mutants.ts). */
const swallowsErrors = planted('swallow-write-error');
const forgetsDuplicates = planted('duplicates-forgotten');

/** The open file: each batch of operations is one transaction, answered once it is on the disk. */
class QueueFile {
  readonly #database: DatabaseSync;
  readonly #step: Step;
  readonly #lanes: Lanes;
  readonly #messages: Messages;
  readonly #records: Records;
  readonly #letters: Letters;
  readonly #due: Due;
  readonly #disk: Disk;
  /** Lanes at which somebody waits for work. */
  readonly #awaited = new Set<Lane>();
  /** Waits that were ended by those who waited: answered even if the transaction fails. */
  #abandoned: number[] = [];
  #served: [number, readonly PackedLease[]][] = [];

  constructor(settings: Settings) {
    this.#database = openDatabase(settings.path);
    this.#step = new Step(this.#database);
    this.#lanes = new Lanes(this.#database);
    this.#messages = new Messages(this.#step, this.#lanes, settings);
    this.#records = new Records(this.#step, this.#lanes);
    this.#letters = new Letters(this.#step, this.#lanes, this.#messages, this.#records);
    this.#due = new Due(this.#step, this.#lanes, this.#messages, this.#letters, settings);
    this.#disk = new Disk(settings.path, settings.minFreeDisk);
  }

  recover(wall: number): FromThread {
    const time = Math.max(wall, this.#lanes.lastTime);
    this.#step.begin(time, wall, undefined);
    let recovered = 0;
    this.#commit(() => {
      recovered = this.#due.recover();
      if (forgetsDuplicates) this.#database.exec('DELETE FROM dedup');
    });
    return { kind: 'opened', time, recovered, messages: this.#lanes.messages };
  }

  run({ time, wall, operations, bodies }: Batch): FromThread {
    this.#step.begin(time, wall, bodies);
    this.#abandoned = [];
    try {
      this.#disk.look(performance.now());
      const answers = this.#carryOut(operations);
      const late = [...this.#abandoned.map((waiter) => [waiter, []] as const), ...this.#served];
      const { space } = this.#disk;
      const next = space.isEnough ? this.#due.next() : Math.min(this.#due.next(), this.#step.now + lookAgainMs);
      return { kind: 'done', answers, late, ended: this.#step.ended, next, letters: this.#lanes.letters, space };
    } catch (error) {
      const late = this.#abandoned.map((waiter) => [waiter, []] as const);
      return { kind: 'failed', message: messageOf(error), late, space: this.#disk.space };
    }
  }

  /** All of the batch; if the disk turns out to be full, all that takes nothing new. */
  #carryOut(operations: readonly Operation[]): unknown[] {
    try {
      return this.#transaction(operations);
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#disk.foundFull();
      this.#recycle();
      return this.#transaction(operations);
    }
  }

  #transaction(operations: readonly Operation[]): unknown[] {
    this.#served = [];
    const answers: unknown[] = [];
    this.#commit(() => {
      this.#due.run();
      for (const operation of operations) answers.push(this.#attempt(operation));
      this.#serve();
    });
    return answers;
  }

  close(): void {
    this.#database.close();
  }

  /** All of it becomes durable, or nothing was changed, in memory as well. */
  #commit(work: () => void): void {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      work();
      this.#lanes.write(this.#step.now);
      failpoint('queue.before-commit');
      this.#database.exec('COMMIT');
    } catch (error) {
      try {
        // A full disk may have ended the transaction already.
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      } finally {
        this.#step.undo();
        this.#lanes.undo();
      }
      if (swallowsErrors) return;
      throw error;
    }
    this.#step.keep();
    this.#lanes.keep();
    failpoint('queue.after-commit');
  }

  /** Lets the log begin again in the space that it has: what is there can then still be settled on a full disk. */
  #recycle(): void {
    try {
      this.#database.exec('PRAGMA wal_checkpoint(RESTART)');
    } catch {
      // The file itself must grow for it. The next batch finds out whether there is space again.
    }
  }

  #attempt(operation: Operation): unknown {
    try {
      return this.#apply(operation);
    } catch (error) {
      if (error instanceof Damaged) return new Error(error.message);
      throw error;
    }
  }

  #apply(operation: Operation): Answers[Operation['kind']] {
    switch (operation.kind) {
      case 'enqueue':
        return this.#disk.space.isEnough ? this.#messages.enqueue(operation.messages) : 'disk-full';
      case 'lease':
        return this.#lease(operation);
      case 'abandon':
        return this.#abandon(operation.waiter);
      case 'extend':
        return this.#messages.extend(operation.id, operation.epoch, operation.ttlMs);
      case 'settle':
        return this.#messages.settle(operation);
      case 'find':
        return this.#records.find(operation.id);
      case 'watch':
        return this.#watch(operation.id);
      case 'unwatch':
        this.#step.watched.delete(operation.id);
        return undefined;
      case 'cancel':
        return this.#messages.cancel(operation.id);
      case 'lanes':
        return this.#records.lanes();
      case 'pause': {
        const lane = this.#lanes.obtain(operation.lane, this.#step.now);
        this.#lanes.change(lane);
        lane.paused = operation.paused;
        return undefined;
      }
      case 'letters':
        return this.#letters.list(operation);
      case 'letter':
        return this.#letters.get(operation.id);
      case 'letter-body':
        return this.#letters.body(operation.id);
      case 'replay':
        return this.#letters.replay(operation);
      case 'purge':
        return this.#letters.purge(operation.filter);
      case 'tick':
        return undefined;
      default:
        throw new Error('no such operation');
    }
  }

  #lease({ lane: name, max, ttlMs, waiter }: Extract<Operation, { kind: 'lease' }>): PackedLease[] | null {
    const lane = this.#lanes.obtain(name, this.#step.now);
    // Those who came earlier are served first.
    const leases = lane.waiters.length === 0 || waiter === 0 ? this.#messages.lease(lane, max, ttlMs) : [];
    if (leases.length > 0 || waiter === 0) return leases;
    this.#setWaiters(lane, [...lane.waiters, { number: waiter, max, ttlMs }]);
    return null;
  }

  /** Gives what the batch made ready to those who wait for it. */
  #serve(): void {
    for (const lane of this.#awaited) {
      for (let [waiter] = lane.waiters; waiter && lane.counts.ready > 0; [waiter] = lane.waiters) {
        const leases = this.#messages.lease(lane, waiter.max, waiter.ttlMs);
        if (leases.length === 0) break;
        this.#served.push([waiter.number, leases]);
        this.#setWaiters(lane, lane.waiters.slice(1));
      }
    }
  }

  #setWaiters(lane: Lane, waiters: Waiter[]): void {
    const before = lane.waiters;
    this.#replaceWaiters(lane, waiters);
    this.#step.onUndo(() =>
      this.#replaceWaiters(
        lane,
        before.filter(({ number }) => !this.#abandoned.includes(number)),
      ),
    );
  }

  #replaceWaiters(lane: Lane, waiters: Waiter[]): void {
    lane.waiters = waiters;
    if (waiters.length > 0) this.#awaited.add(lane);
    else this.#awaited.delete(lane);
  }

  /** Not undone when the transaction fails: it touches nothing that is stored. */
  #abandon(number: number): undefined {
    for (const lane of this.#awaited) {
      if (!lane.waiters.some((waiter) => waiter.number === number)) continue;
      this.#abandoned.push(number);
      this.#replaceWaiters(
        lane,
        lane.waiters.filter((waiter) => waiter.number !== number),
      );
      return;
    }
  }

  #watch(id: string): PackedRecord | undefined {
    const record = this.#records.find(id);
    if (record && record.finishedAt === undefined) this.#step.watched.add(id);
    return record;
  }
}

/** SQLITE_FULL */
function isFull(error: unknown): boolean {
  return (Number((error as { errcode?: unknown }).errcode) & 0xff) === 13;
}

/** Big bodies of leases, which nobody here needs any more. */
function transfers(message: FromThread): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = [];
  if (message.kind !== 'done') return buffers;
  const give = (leases: readonly PackedLease[]): void => {
    for (const [, , , , { buffer, byteLength }] of leases) {
      if (byteLength >= transferBytes && buffer instanceof ArrayBuffer) buffers.push(buffer);
    }
  };
  for (const answer of message.answers) if (isLeases(answer)) give(answer);
  for (const [, leases] of message.late) give(leases);
  return buffers;
}

function isLeases(answer: unknown): answer is PackedLease[] {
  return Array.isArray(answer) && Array.isArray(answer[0]);
}

function main(): void {
  const port = parentPort;
  if (!port) throw new Error('this file runs in a worker thread');
  const answer = (message: FromThread): void => port.postMessage(message, transfers(message));
  let file: QueueFile | undefined;
  port.on('message', (message: ToThread) => {
    if (message.kind === 'batch' && file) {
      answer(file.run(message));
      // V8 here collects seldom, and would let tens of MiB of them pile up.
      if (message.bodies?.buffer instanceof ArrayBuffer) message.bodies.buffer.transfer(0);
    } else if (message.kind === 'open') {
      try {
        file = new QueueFile(workerData as Settings);
        answer(file.recover(message.now));
      } catch (error) {
        file?.close();
        const code = error instanceof MillraceError ? error.code : 'queue.unavailable';
        answer({ kind: 'refused', code, message: messageOf(error) });
        port.close();
      }
    } else {
      file?.close();
      port.close();
    }
  });
}

main();
