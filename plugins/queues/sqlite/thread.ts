import type { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { failpoint } from '../../../core/delivery/failpoint.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import { Counters } from './counters.ts';
import { Messages } from './messages.ts';
import type { Batch, BatchReply, Opened, Operation, Operations, ThreadOptions } from './protocol.ts';
import { Records } from './records.ts';
import { openDatabase, OpenError } from './schema.ts';

/** The queue's own time is written down this often, ms, so that it never goes back from one start to the next. */
const timeStepMs = 1000;

type Handlers = { readonly [Name in keyof Operations]: (input: Operations[Name]['in']) => Operations[Name]['out'] };

/** The thread's side: one transaction a batch. */
class QueueThread {
  readonly #database: DatabaseSync;
  readonly #counters: Counters;
  readonly #messages: Messages;
  readonly #records: Records;
  readonly #handlers: Handlers;
  readonly #base: number;
  readonly #begin;
  readonly #commit;
  readonly #rollback;
  readonly #putTime;
  #timeWritten: number;

  constructor(options: ThreadOptions) {
    this.#database = openDatabase(options.file);
    this.#begin = this.#database.prepare('BEGIN IMMEDIATE');
    this.#commit = this.#database.prepare('COMMIT');
    this.#rollback = this.#database.prepare('ROLLBACK');
    this.#putTime = this.#database.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES ('time', ?)");
    this.#timeWritten = Number(
      this.#database.prepare("SELECT value FROM meta WHERE name = 'time'").get()?.['value'] ?? 0,
    );
    // Between two starts only the wall clock goes on; within one, only the monotonic one counts.
    this.#base = Math.max(options.wallMs, this.#timeWritten);
    this.#counters = new Counters(this.#database);
    this.#messages = new Messages(this.#database, this.#counters, options);
    this.#records = new Records(this.#database, this.#counters, this.#messages, options);
    this.#handlers = this.#operations();
  }

  open(wallMs: number): number | undefined {
    this.#transaction({ operations: [], elapsedMs: 0, wallMs, watched: false }, () => this.#messages.recover());
    return this.#nextMs();
  }

  run(batch: Batch): BatchReply {
    try {
      const results = this.#transaction(batch, () => batch.operations.map((operation) => this.#handle(operation)));
      failpoint('queue.after-commit');
      const ready: string[] = [];
      for (const lane of this.#counters.changed()) if (lane.ready > 0 && lane.paused === 0) ready.push(lane.name);
      this.#counters.committed();
      const ended = batch.watched ? [...this.#messages.ended] : [];
      this.#messages.ended.length = 0;
      return { results, ready, ended, nextMs: this.#nextMs() };
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  close(): void {
    this.#database.close();
  }

  #transaction<T>({ elapsedMs, wallMs }: Batch, run: () => T): T {
    this.#messages.time = this.#base + elapsedMs;
    this.#messages.wallMs = wallMs;
    this.#begin.run();
    try {
      while (this.#messages.catchUp());
      this.#records.sweep();
      const result = run();
      this.#counters.write();
      if (this.#messages.time - this.#timeWritten >= timeStepMs) {
        this.#putTime.run(Math.ceil(this.#messages.time));
        this.#timeWritten = this.#messages.time;
      }
      failpoint('queue.before-commit');
      this.#commit.run();
      return result;
    } catch (error) {
      // A full disk ends the transaction by itself; then there is nothing to roll back.
      if (this.#database.isTransaction) this.#rollback.run();
      this.#counters.reload();
      this.#messages.recount();
      throw error;
    }
  }

  #handle(operation: Operation): unknown {
    const handler = this.#handlers[operation.name] as (input: Operation) => unknown;
    return handler(operation);
  }

  #nextMs(): number | undefined {
    const { due, time } = this.#messages;
    const next = Math.min(due.delayed, due.leased, due.expires);
    return next === Infinity ? undefined : Math.max(0, next - time);
  }

  #operations(): Handlers {
    const messages = this.#messages;
    const records = this.#records;
    return {
      enqueue: ({ messages: list }) => list.map((message) => messages.enqueue(message)),
      lease: ({ lane, max, ttlMs }) => messages.lease(lane, max, ttlMs),
      extend: ({ receipt, ttlMs }) => messages.extend(receipt, ttlMs),
      settle: ({ receipt, disposition }) => messages.settle(receipt, disposition),
      find: ({ id }) => records.find(id),
      cancel: ({ id }) => messages.cancel(id),
      lanes: () => records.lanes(),
      pause: ({ lane, paused }) => {
        this.#counters.change(lane).paused = paused ? 1 : 0;
        return undefined;
      },
      listLetters: ({ filter, limit, cursor }) => records.list(filter, limit, cursor),
      getLetter: ({ id }) => records.get(id),
      letterBody: ({ id }) => records.body(id),
      replay: (input) => records.replay(input),
      purge: ({ filter, id }) => records.purge(filter, id),
      tick: () => undefined,
    };
  }
}

const port = parentPort;
if (!port) throw new Error('this file is the thread of the sqlite queue');
const options = workerData as ThreadOptions;
try {
  const thread = new QueueThread(options);
  const nextMs = thread.open(options.wallMs);
  port.postMessage({ opened: true, nextMs } satisfies Opened);
  port.on('message', (batch: Batch | 'close') => {
    if (batch === 'close') {
      thread.close();
      port.close();
    } else port.postMessage(thread.run(batch));
  });
} catch (error) {
  const code = error instanceof OpenError ? error.code : 'queue.unavailable';
  const text =
    code === 'queue.unavailable' ? `${options.file} cannot be opened: ${messageOf(error)}` : messageOf(error);
  port.postMessage({ opened: false, code, message: text } satisfies Opened);
}
