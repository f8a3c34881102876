import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { Clock } from '../../../core/contracts/clock.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Batch, BatchReply, Opened, Operation, Operations, ThreadOptions } from './protocol.ts';

/** At most so many operations in one transaction, so that the first of them is not kept waiting by the last. */
const maxOperations = 512;

interface Call {
  readonly operation: Operation;
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
}

export interface BatchesOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly thread: Omit<ThreadOptions, 'wallMs'>;
  readonly watched: () => boolean;
  readonly onReady: (lane: string) => void;
  readonly onEnded: (id: string) => void;
  readonly onDeath: (error: Error) => void;
}

/**
 * Group commit: while one transaction is with the thread, the calls that come are gathered for the next. An idle queue
 * adds no delay; a busy one pays for the disk once for hundreds of calls.
 */
export class Batches {
  readonly #options: BatchesOptions;
  #waiting: Call[] = [];
  #flying: readonly Call[] | undefined;
  #worker: Worker | undefined;
  #openedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed: Promise<void> | undefined;
  #ended = false;

  constructor(options: BatchesOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { clock, logger } = this.#options;
    // The thread's file has the ending of this one: .ts in the source, .js in the package.
    const file = new URL(`./thread${extname(import.meta.filename)}`, import.meta.url);
    this.#openedAt = clock.monotonic();
    const worker = new Worker(file, {
      name: 'sqlite-queue',
      workerData: { ...this.#options.thread, wallMs: clock.now() } satisfies ThreadOptions,
    });
    this.#worker = worker;
    const { promise, resolve, reject } = Promise.withResolvers<Opened>();
    worker.once('message', resolve);
    worker.once('error', reject);
    const opened = await promise.catch((error: unknown) => {
      throw new MillraceError('queue.unavailable', 'the thread of the queue could not start', { cause: error });
    });
    if (!opened.opened) {
      await worker.terminate();
      throw new MillraceError(opened.code, opened.message);
    }
    worker.removeListener('error', reject);
    worker.on('message', (reply: BatchReply) => this.#done(reply));
    worker.on('error', (error) => this.#died(error));
    worker.on('exit', () => this.#died(new Error('the thread of the queue has ended')));
    this.#arm(opened.nextMs);
    if (plant === 'ack-before-commit')
      logger.error('MILLRACE_PLANT is set: accepted work will be lost; for tests only');
  }

  run<Name extends keyof Operations>(name: Name, input: Operations[Name]['in']): Promise<Operations[Name]['out']> {
    if (this.#ended || this.#closed) return Promise.reject(unavailable('it has been stopped'));
    return new Promise((resolve, reject) => {
      const operation = { name, ...input } as unknown as Operation;
      this.#waiting.push({ operation, resolve, reject });
      if (plant === 'ack-before-commit' && operation.name === 'enqueue') {
        resolve(operation.messages.map(({ id }) => ({ status: 'accepted', id })) as never);
      }
      this.#send();
    });
  }

  /** Finishes what was asked for, then closes the file. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    if (!worker || this.#ended) return;
    if (this.#flying || this.#waiting.length > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    this.#ended = true;
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    worker.postMessage('close');
    await exited;
  }
  #whenIdle: (() => void) | undefined;

  #send(): void {
    if (this.#flying || this.#waiting.length === 0 || !this.#worker) return;
    const calls = this.#waiting.splice(0, maxOperations);
    this.#flying = calls;
    const { clock, watched } = this.#options;
    this.#worker.postMessage({
      operations: calls.map(({ operation }) => operation),
      elapsedMs: clock.monotonic() - this.#openedAt,
      wallMs: clock.now(),
      watched: watched(),
    } satisfies Batch);
  }

  #done(reply: BatchReply): void {
    const calls = this.#flying ?? [];
    this.#flying = undefined;
    if ('error' in reply) {
      this.#options.logger.error({ reason: reply.error }, 'a transaction of the queue failed; nothing of it was done');
      for (const { reject } of calls) reject(unavailable(reply.error));
      this.#arm(1000);
    } else {
      calls.forEach(({ resolve }, index) => resolve(reply.results[index] as never));
      for (const id of reply.ended) this.#options.onEnded(id);
      for (const lane of reply.ready) this.#options.onReady(lane);
      this.#arm(reply.nextMs);
    }
    this.#send();
    if (!this.#flying) this.#whenIdle?.();
  }

  /** Looks in when something is due by itself. The thread has no clock of its own: it is told the time. */
  #arm(nextMs: number | undefined): void {
    clearTimeout(this.#timer);
    if (nextMs === undefined || this.#closed) return;
    const delay = Math.min(Math.ceil(nextMs) + 1, 60_000);
    this.#timer = setTimeout(() => {
      this.run('tick', {}).catch(() => undefined); // A failed tick is logged with its transaction, and comes again.
    }, delay).unref();
  }

  #died(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const cause = unavailable('its thread has ended', error);
    for (const { reject } of [...(this.#flying ?? []), ...this.#waiting.splice(0)]) reject(cause);
    this.#flying = undefined;
    this.#whenIdle?.();
    this.#options.onDeath(cause);
  }
}

/** A bug for the crash test to find. */
const plant = process.env['MILLRACE_PLANT'];

function unavailable(reason: string, cause?: unknown): MillraceError {
  return new MillraceError('queue.unavailable', `the sqlite queue cannot take this now: ${reason}`, {
    cause,
    retryAfterSeconds: 5,
  });
}
