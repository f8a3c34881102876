import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import { type StoreHost, defineStore } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { PutOptions, Store, StoreRecord } from '../../../core/contracts/store.ts';
import type { FromThread, Operation, Result, ToThread } from './protocol.ts';

export default defineStore({
  kind: 'sqlite',
  summary: 'One file on this machine; survives kill -9 and power loss. One process at a time.',
  config: z.strictObject({
    path: z
      .string()
      .min(1)
      .default('data/store.sqlite')
      .describe('The file; a relative path is meant from the folder of the configuration.'),
  }),
  examples: [{}, { path: '/var/lib/millrace/store.sqlite' }],
  create: (config, host) => new SqliteStore(resolve(host.baseFolder, config.path), host),
});

interface Waiting {
  readonly operation: Operation;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: MillraceError) => void;
}

const sweepEveryMs = 60_000;

/**
 * Records in SQLite, on a thread of its own. What is asked while the thread is busy becomes the next batch, which is
 * one transaction with one sync to the disk.
 */
export class SqliteStore implements Store {
  readonly #path: string;
  readonly #host: StoreHost;
  #thread: Worker | undefined;
  /** Resolves when the thread has ended. */
  #ended: Promise<void> = Promise.resolve();
  #pending: Waiting[] = [];
  #batch: Waiting[] | undefined;
  #sweeper: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(path: string, host: StoreHost) {
    this.#path = path;
    this.#host = host;
  }

  async start(): Promise<void> {
    try {
      // In this turn, as its thread then begins in it and not behind what else starts.
      mkdirSync(dirname(this.#path), { recursive: true });
    } catch (error) {
      throw this.#unavailable(messageOf(error), error);
    }
    this.#stopping = false;
    // The file's ending is that of this one: .ts from the sources, .js when built.
    const file = new URL(`./thread${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);
    const thread = new Worker(file, { workerData: { path: this.#path }, name: `store ${this.#host.name}` });
    const ended = Promise.withResolvers<void>();
    this.#ended = ended.promise;
    const opened = Promise.withResolvers<void>();
    thread.on('error', (error) => {
      this.#lost(messageOf(error));
      opened.reject(this.#unavailable(messageOf(error), error));
    });
    thread.on('exit', () => {
      this.#lost('its thread has ended');
      opened.reject(this.#unavailable('its thread has ended'));
      ended.resolve();
    });
    thread.once('message', (message: FromThread) => {
      if (message.kind === 'failed') {
        opened.reject(this.#unavailable(message.message));
        return;
      }
      this.#thread = thread;
      thread.on('message', (answer: FromThread) => this.#answered(answer));
      opened.resolve();
    });
    await opened.promise;
    this.#sweeper = setInterval(() => this.#sweep(), sweepEveryMs);
    this.#sweeper.unref();
  }

  async get(key: string): Promise<StoreRecord | undefined> {
    return (await this.#ask({ kind: 'get', key, now: this.#now() })) as StoreRecord | undefined;
  }

  async put(key: string, value: string, options: PutOptions = {}): Promise<number | undefined> {
    if (!key.isWellFormed() || !value.isWellFormed()) {
      throw new MillraceError('request.invalid', 'keys and values of a store are well-formed Unicode text');
    }
    const now = this.#now();
    const expiresAt = options.ttlMs === undefined ? undefined : now + options.ttlMs;
    const { ifVersion } = options;
    return (await this.#ask({ kind: 'put', key, value, now, expiresAt, ifVersion })) as number | undefined;
  }

  async delete(key: string): Promise<boolean> {
    return (await this.#ask({ kind: 'delete', key, now: this.#now() })) as boolean;
  }

  async list(prefix: string, limit: number, after?: string): Promise<string[]> {
    return (await this.#ask({ kind: 'list', prefix, limit, after, now: this.#now() })) as string[];
  }

  async stop(deadlineMs: number): Promise<void> {
    if (this.#stopping) return this.#ended;
    this.#stopping = true;
    clearInterval(this.#sweeper);
    const thread = this.#thread;
    if (!thread) return;
    // Behind the batch under way; what has not been sent by now is refused.
    this.#post({ kind: 'close' });
    this.#refuse(this.#pending.splice(0), 'it is stopping');
    const timer = setTimeout(() => void thread.terminate(), deadlineMs);
    await this.#ended;
    clearTimeout(timer);
  }

  #now(): number {
    return this.#host.clock.now();
  }

  #ask(operation: Operation): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (!this.#thread || this.#stopping) {
        reject(this.#unavailable('it is not open'));
        return;
      }
      this.#pending.push({ operation, resolve, reject });
      // Those who ask in the same turn share the batch.
      if (!this.#batch && this.#pending.length === 1) queueMicrotask(() => this.#send());
    });
  }

  #send(): void {
    if (this.#batch || this.#pending.length === 0) return;
    this.#batch = this.#pending;
    this.#pending = [];
    this.#post({ kind: 'batch', operations: this.#batch.map(({ operation }) => operation) });
  }

  #answered(message: FromThread): void {
    const batch = this.#batch ?? [];
    this.#batch = undefined;
    if (message.kind === 'done') batch.forEach(({ resolve }, index) => resolve(message.results[index]));
    if (message.kind === 'failed') this.#refuse(batch, message.message);
    if (!this.#stopping) this.#send();
  }

  #post(message: ToThread): void {
    this.#thread?.postMessage(message);
  }

  #sweep(): void {
    this.#ask({ kind: 'sweep', now: this.#now() }).catch((error: unknown) => {
      this.#host.logger.warn({ err: error }, 'removing expired records failed');
    });
  }

  /** The thread is gone. Nothing of an unanswered batch is known to be durable, so it is refused. */
  #lost(reason: string): void {
    const waiting = [...(this.#batch ?? []), ...this.#pending.splice(0)];
    this.#batch = undefined;
    this.#refuse(waiting, reason);
    const wasOpen = this.#thread !== undefined;
    this.#thread = undefined;
    clearInterval(this.#sweeper);
    if (wasOpen && !this.#stopping) this.#host.fail(this.#unavailable(reason));
  }

  #refuse(waiting: readonly Waiting[], reason: string): void {
    for (const { reject } of waiting) reject(this.#unavailable(reason));
  }

  #unavailable(reason: string, cause?: unknown): MillraceError {
    const message = `store file ${this.#path}: ${reason}`;
    return new MillraceError('store.unavailable', message, { cause, retryAfterSeconds: 1 });
  }
}
