import { mkdirSync } from 'node:fs';
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
import type { PackedLease, Space } from './protocol.ts';

interface Waiting {
  readonly resolve: (leases: readonly PackedLease[]) => void;
  readonly reject: (error: MillraceError) => void;
}

/** For the crash test only: acknowledges before anything is durable, and must be found out. */
const acksEarly = planted('ack-before-commit');
/** For the test of full disks only: takes what it has no space for. */
const dropsOnFull = planted('drop-on-full');

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
  /** Why nothing is accepted. */
  #lacksSpace: string | undefined;

  constructor(config: z.output<typeof sqliteConfig>, host: QueueHost) {
    this.#host = host;
    this.#config = config;
    const settings = {
      path: config.path,
      agingStepMs: config.aging.step,
      maxMessages: config.limits.messages,
      maxBytes: config.limits.bytes,
      minFreeDisk: config.limits.freeDisk,
      maxLaneMessages: config.laneLimits.messages,
      retentionMs: config.deadLetter.retention,
      tombstonesMs: config.tombstones,
    };
    const letters = host.metrics.gauge('dead_letters', 'Dead letters that are kept.');
    const free = host.metrics.gauge('disk_free_bytes', 'What is free on the disk of the file.');
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
      space: (space) => {
        free.set(space.free);
        this.#watchSpace(space);
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
      // In this turn, as its thread then begins in it and not behind what else starts.
      mkdirSync(dirname(path), { recursive: true });
    } catch (error) {
      throw new MillraceError('queue.unavailable', `the folder of ${path} cannot be made: ${messageOf(error)}`, {
        cause: error,
      });
    }
    const { recovered, messages } = await this.#channel.open();
    this.#host.logger.info({ path, messages, recovered }, 'queue opened');
  }

  async enqueue(messages: readonly NewMessage[]): Promise<EnqueueResult[]> {
    if (messages.length === 0) return [];
    const results = this.#channel.call<'enqueue'>(
      (pack) => ({ kind: 'enqueue', messages: messages.map((message) => packMessage(message, pack)) }),
      messages.length,
    );
    if (acksEarly) {
      results.catch(() => {});
      return messages.map(({ id }) => ({ status: 'accepted', id }));
    }
    const answer = await results;
    if (answer !== 'disk-full') return answer;
    if (dropsOnFull) return messages.map(({ id }) => ({ status: 'accepted', id }));
    throw new MillraceError('queue.disk-full', 'the disk of the queue is full; it takes nothing until there is space', {
      retryAfterSeconds: 5,
    });
  }

  draining(): string | undefined {
    return this.#lacksSpace;
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

  #watchSpace({ free, isEnough }: Space): void {
    if (isEnough === (this.#lacksSpace === undefined)) return;
    const { path, limits } = this.#config;
    const about = { path, freeBytes: free, wantedBytes: limits.freeDisk };
    if (isEnough) {
      this.#lacksSpace = undefined;
      this.#host.logger.info(about, 'the disk has space again: messages are accepted');
    } else {
      this.#lacksSpace = `the disk of ${path} has ${free} bytes left, of ${limits.freeDisk} that are to stay free`;
      this.#host.logger.error(about, 'the disk is full: no message is accepted until there is space');
    }
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
