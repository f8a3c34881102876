import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { z } from 'zod';
import type { QueueHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import { finalStates, type Durability } from '../../../core/contracts/invocation.ts';
import type {
  CancelResult,
  DeadLetters,
  Disposition,
  EnqueueResult,
  LaneStats,
  Lease,
  LeaseOptions,
  MessageRecord,
  NewMessage,
  Queue,
  Receipt,
  SettleResult,
} from '../../../core/contracts/queue.ts';
import { planted } from '../../../core/delivery/failpoint.ts';
import { Channel } from './channel.ts';
import { SqliteDeadLetters } from './dead-letters.ts';
import type { sqliteConfig } from './index.ts';
import { packMessage, packSettle, unpackLease, unpackRecord } from './packing.ts';
import type { PackedLease } from './protocol.ts';
import { flushless } from './schema.ts';

interface Waiting {
  readonly resolve: (leases: readonly PackedLease[]) => void;
  readonly reject: (error: MillraceError) => void;
}

/** For the crash test only: acknowledges before anything is durable, and must be found out. */
const earlyAck = 'ack-before-commit';
const acksEarly = planted(earlyAck);

/** The queue in one file of SQLite. All of the work is done in its thread; here are the calls and those who wait. */
export class SqliteQueue implements Queue {
  readonly durability: Durability = 'disk';
  readonly deadLetters: DeadLetters;
  readonly #host: QueueHost;
  readonly #config: z.output<typeof sqliteConfig>;
  readonly #channel: Channel;
  /** Lease calls that wait for work, by their number. */
  readonly #waiting = new Map<number, Waiting>();
  readonly #watchers = new Map<string, Set<() => void>>();
  #waiter = 0;
  #stopping = false;
  #warned = false;

  constructor(config: z.output<typeof sqliteConfig>, host: QueueHost) {
    this.#host = host;
    this.#config = config;
    const settings = {
      path: config.path,
      agingStepMs: config.aging.step,
      maxMessages: config.limits.messages,
      maxBytes: config.limits.bytes,
      maxLaneMessages: config.laneLimits.messages,
      retentionMs: config.deadLetter.retention,
      tombstonesMs: config.tombstones,
    };
    const letters = host.metrics.gauge('dead_letters', 'Dead letters that are kept.');
    this.#channel = new Channel(settings, host, {
      late: (answers) => {
        for (const [waiter, leases] of answers) this.#waiting.get(waiter)?.resolve(leases);
      },
      ended: (ids) => {
        for (const id of ids) for (const wake of this.#watchers.get(id) ?? []) wake();
      },
      letters: (count) => {
        letters.set(count);
        this.#watchLetters(count);
      },
      lost: (error) => {
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#wakeWatchers();
      },
    });
    this.deadLetters = new SqliteDeadLetters(this.#channel);
  }

  async start(): Promise<void> {
    const { path } = this.#config;
    try {
      await mkdir(dirname(path), { recursive: true });
    } catch (error) {
      throw new MillraceError('queue.unavailable', `the folder of ${path} cannot be made: ${messageOf(error)}`, {
        cause: error,
      });
    }
    const { recovered, messages } = await this.#channel.open();
    this.#host.logger.info({ path, messages, recovered }, 'queue opened');
    for (const plant of [earlyAck, flushless].filter(planted)) {
      this.#host.logger.error(`MILLRACE_PLANT=${plant}: what is acknowledged may be lost; for tests only`);
    }
  }

  async enqueue(messages: readonly NewMessage[]): Promise<EnqueueResult[]> {
    if (messages.length === 0) return [];
    const results = this.#channel.call<'enqueue'>(
      (pack) => ({ kind: 'enqueue', messages: messages.map((message) => packMessage(message, pack)) }),
      messages.length,
    );
    if (!acksEarly) return results;
    results.catch(() => {});
    return messages.map(({ id }) => ({ status: 'accepted', id }));
  }

  async lease(lane: string, max: number, options: LeaseOptions): Promise<Lease[]> {
    if (max <= 0) return [];
    const leases = await this.#lease(lane, max, options);
    return leases.map((lease) => unpackLease(lane, lease));
  }

  extend({ id, epoch }: Receipt, ttlMs: number): Promise<SettleResult> {
    return this.#channel.call<'extend'>(() => ({ kind: 'extend', id, epoch, ttlMs }));
  }

  settle(receipt: Receipt, disposition: Disposition): Promise<SettleResult> {
    return this.#channel.call<'settle'>((pack) => packSettle(receipt, disposition, pack));
  }

  async find(id: string): Promise<MessageRecord | undefined> {
    const record = await this.#channel.call<'find'>(() => ({ kind: 'find', id }));
    return record && unpackRecord(record);
  }

  async finished(id: string, signal: AbortSignal): Promise<MessageRecord | undefined> {
    if (signal.aborted || this.#stopping) return undefined;
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers);
    const { promise, resolve: wake } = Promise.withResolvers<void>();
    watchers.add(wake);
    const onAbort = (): void => wake();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const record = await this.#channel.call<'watch'>(() => ({ kind: 'watch', id }));
      if (!record || finalStates.has(record.state)) return record && unpackRecord(record);
      await promise;
      if (signal.aborted || this.#stopping) return undefined;
      return await this.find(id);
    } finally {
      signal.removeEventListener('abort', onAbort);
      watchers.delete(wake);
      if (watchers.size === 0 && this.#watchers.get(id) === watchers) {
        this.#watchers.delete(id);
        // Refused only when the thread forgets it anyway.
        if (signal.aborted) this.#channel.call<'unwatch'>(() => ({ kind: 'unwatch', id })).catch(() => {});
      }
    }
  }

  cancel(id: string): Promise<CancelResult> {
    return this.#channel.call<'cancel'>(() => ({ kind: 'cancel', id }));
  }

  lanes(): Promise<LaneStats[]> {
    return this.#channel.call<'lanes'>(() => ({ kind: 'lanes' }));
  }

  async pause(lane: string): Promise<void> {
    await this.#channel.call<'pause'>(() => ({ kind: 'pause', lane, paused: true }));
  }

  async resume(lane: string): Promise<void> {
    await this.#channel.call<'pause'>(() => ({ kind: 'pause', lane, paused: false }));
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    this.#wakeWatchers();
    for (const waiter of this.#waiting.keys()) this.#abandon(waiter);
    await this.#channel.close(deadlineMs);
  }

  async #lease(lane: string, max: number, { ttlMs, waitMs, signal }: LeaseOptions): Promise<readonly PackedLease[]> {
    if (waitMs <= 0 || signal.aborted || this.#stopping) {
      return (await this.#channel.call<'lease'>(() => ({ kind: 'lease', lane, max, ttlMs, waiter: 0 }))) ?? [];
    }
    const waiter = ++this.#waiter;
    const { promise, resolve, reject } = Promise.withResolvers<readonly PackedLease[]>();
    this.#waiting.set(waiter, { resolve, reject });
    const abandon = (): void => this.#abandon(waiter);
    const timer = setTimeout(abandon, Math.min(waitMs, 2 ** 31 - 1));
    signal.addEventListener('abort', abandon, { once: true });
    try {
      const leases = await this.#channel.call<'lease'>(() => ({ kind: 'lease', lane, max, ttlMs, waiter }));
      return leases ?? (await promise);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abandon);
      this.#waiting.delete(waiter);
      // When the call was refused nobody waits for this.
      promise.catch(() => {});
    }
  }

  /** Only the thread knows whether it has leased something for the waiter; its answer ends the wait. */
  #abandon(waiter: number): void {
    this.#channel.call<'abandon'>(() => ({ kind: 'abandon', waiter })).catch(() => {});
  }

  #wakeWatchers(): void {
    for (const watchers of this.#watchers.values()) for (const wake of watchers) wake();
  }

  #watchLetters(count: number): void {
    const { maxMessages } = this.#config.deadLetter;
    if (count > maxMessages && !this.#warned) {
      this.#warned = true;
      this.#host.logger.warn({ deadLetters: count, maxMessages }, 'more dead letters are kept than maxMessages says');
    } else if (count <= maxMessages) {
      this.#warned = false;
    }
  }
}
