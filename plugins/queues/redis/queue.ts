import { AsyncLocalStorage } from 'node:async_hooks';
import type { z } from 'zod';
import { within } from '../../../core/contracts/clock.ts';
import type { QueueHost } from '../../../core/contracts/definition.ts';
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
import { failpoint, planted } from '../../../core/delivery/failpoint.ts';
import type { RedisConnection } from '../../connections/redis/connection.ts';
import { Batch } from './batch.ts';
import { RedisDeadLetters } from './dead-letters.ts';
import type { redisQueueConfig } from './index.ts';
import {
  packMessage,
  packSettlement,
  sizeOf,
  unpackAccepted,
  unpackLane,
  unpackLeases,
  unpackRecord,
  type PackedLeases,
  type PackedRecord,
} from './packing.ts';
import { createScripts, type RedisFaults } from './scripts.ts';
import { Server, stopped } from './server.ts';
import { Ticker } from './ticker.ts';
import { Waiting } from './waiting.ts';

/** For tests only. */
export interface RedisQueueSeams {
  readonly faults?: RedisFaults | undefined;
  /** The time that the scripts go by, instead of the server's. */
  readonly now?: (() => number) | undefined;
}

/** What a lane asks for. */
interface LeaseRequest {
  readonly kind: 'lease';
  readonly lane: string;
  readonly max: number;
  readonly ttlMs: number;
}

interface Settlement {
  readonly kind: 'settle';
  readonly packed: readonly (string | Buffer)[];
}

/** For the crash tests only: bugs that they must find. */
const acksEarly = planted('ack-before-commit');
const skipEpochCheck = planted('skip-epoch-check');

/** Of one round trip: a few milliseconds of the server's time. */
const batchLimits = { count: 64, bytes: 2 ** 20 } as const;
/** Of one lease request, so that one answer stays small. */
const maxLeases = 256;
/** What the answer to a lease is taken for where requests are counted in bytes. */
const bytesOfLease = batchLimits.bytes / maxLeases;

/**
 * The queue in Redis. Every operation is part of one script, so that all or nothing of it happens, by the server's clock;
 * what is asked at the same time goes in one round trip. Any number of processes may work on the same queue.
 */
export class RedisQueue implements Queue {
  readonly deadLetters: DeadLetters;
  durability: Durability = 'memory';
  readonly #config: z.output<typeof redisQueueConfig>;
  readonly #host: QueueHost;
  readonly #seams: RedisQueueSeams;
  readonly #scripts: ReturnType<typeof createScripts>;
  /** Lease calls that wait for work, by lane, and calls that wait for an end, by id. */
  readonly #waiting = new Waiting();
  readonly #watching = new Waiting();
  readonly #enqueues: Batch<readonly (string | Buffer)[], number | Buffer>;
  readonly #work: Batch<LeaseRequest | Settlement, PackedLeases | number>;
  readonly #extensions: Batch<readonly string[], number>;
  #server: Server | undefined;
  #ticker: Ticker | undefined;
  #unsubscribe: (() => void) | undefined;
  #stopping = false;

  constructor(config: z.output<typeof redisQueueConfig>, host: QueueHost, seams: RedisQueueSeams = {}) {
    this.#config = config;
    this.#host = host;
    this.#seams = seams;
    this.#scripts = createScripts(skipEpochCheck ? { skipEpochCheck } : seams.faults);
    this.deadLetters = new RedisDeadLetters(() => this.#open(), this.#scripts);
    const { limits, laneLimits } = config;
    const bounds = [String(limits.messages), String(limits.bytes), String(laneLimits.messages ?? '')];
    this.#enqueues = new Batch(async (messages) => {
      failpoint('queue.before-commit');
      const answers = await this.#run<(number | Buffer)[]>(this.#scripts.enqueue, [...bounds, ...messages.flat()]);
      failpoint('queue.after-commit');
      return answers;
    }, batchLimits);
    // A group of functions that ends together costs one fsync, with the request for the next one.
    this.#work = new Batch((requests) => this.#settleAndLease(requests), {
      count: 2 * batchLimits.count,
      bytes: batchLimits.bytes,
      isAlone: true,
    });
    this.#extensions = new Batch(
      (extensions) => this.#run<number[]>(this.#scripts.extend, extensions.flat()),
      batchLimits,
    );
  }

  async start(): Promise<void> {
    const { allowVolatile, durability: declared, name = this.#host.name, aging, deadLetter, tombstones } = this.#config;
    const connection = this.#host.connection<RedisConnection>();
    this.durability = await connection.durability({ allowVolatile, declared });
    await connection.load(Object.values(this.#scripts));
    const prefix = `millrace:{${name}}:`;
    const server = new Server(connection, {
      prefix,
      agingStepMs: aging.step,
      retentionMs: deadLetter.retention,
      tombstonesMs: tombstones,
      now: this.#seams.now,
    });
    const letters = this.#host.metrics.gauge('dead_letters', 'Dead letters that are kept.');
    const ticker = new Ticker({
      server,
      script: this.#scripts.tick,
      waiting: this.#waiting,
      watching: this.#watching,
      logger: this.#host.logger,
      letters: (count) => letters.set(count),
      maxLetters: deadLetter.maxMessages,
    });
    // The first one also finds out whether the format is known.
    await ticker.tick();
    ticker.start();
    this.#server = server;
    this.#ticker = ticker;
    const hear = AsyncLocalStorage.bind((message: string) => this.#hear(message));
    this.#unsubscribe = connection.subscribe(`${prefix}events`, hear);
    this.#host.logger.info({ prefix, durability: this.durability }, 'queue opened');
  }

  async enqueue(messages: readonly NewMessage[]): Promise<EnqueueResult[]> {
    this.#open();
    const results = Promise.all(
      messages.map(async (message) => {
        const packed = packMessage(message);
        const answer = unpackAccepted(await this.#enqueues.add(packed, sizeOf(packed)), message.id);
        if (message.delayMs !== undefined) this.#ticker?.hurry(message.delayMs);
        return answer;
      }),
    );
    if (!acksEarly) return results;
    results.catch(() => {});
    return messages.map(({ id }) => ({ status: 'accepted', id }));
  }

  async lease(lane: string, max: number, { ttlMs, waitMs, signal }: LeaseOptions): Promise<Lease[]> {
    this.#open();
    if (max <= 0 || signal.aborted) return [];
    const request = { kind: 'lease', lane, max: Math.min(max, maxLeases), ttlMs } as const;
    // Before asking, so that no change is missed while the answer is on its way.
    const waiter = this.#waiting.begin(lane, signal);
    // Told by the timer alone: it may fire before the clock has come as far, and nothing else would end the wait then.
    let isOver = waitMs <= 0;
    const end = (): void => {
      isOver = true;
      waiter.wake();
    };
    const timer = setTimeout(end, Math.min(waitMs, 2 ** 31 - 1));
    try {
      for (;;) {
        const answer = await this.#work.add(request, request.max * bytesOfLease);
        const leases = unpackLeases(lane, answer as PackedLeases);
        if (leases.length > 0) {
          this.#ticker?.hurry(ttlMs);
          return leases;
        }
        if (isOver || signal.aborted || this.#stopping) return [];
        this.#ticker?.hurry();
        await waiter.change();
        if (signal.aborted || this.#stopping) return [];
      }
    } finally {
      clearTimeout(timer);
      waiter.done();
    }
  }

  async extend({ id, epoch }: Receipt, ttlMs: number): Promise<SettleResult> {
    this.#open();
    const answer = await this.#extensions.add([id, String(epoch), String(Math.ceil(ttlMs))]);
    return answer === 1 ? 'settled' : 'stale';
  }

  async settle(receipt: Receipt, disposition: Disposition): Promise<SettleResult> {
    this.#open();
    const packed = packSettlement(receipt, disposition);
    const answer = await this.#work.add({ kind: 'settle', packed }, sizeOf(packed));
    if (disposition.kind === 'retry' && disposition.delayMs > 0) this.#ticker?.hurry(disposition.delayMs);
    return answer === 1 ? 'settled' : 'stale';
  }

  find(id: string): Promise<MessageRecord | undefined> {
    return this.#find(id, false);
  }

  async finished(id: string, signal: AbortSignal): Promise<MessageRecord | undefined> {
    this.#open();
    const waiter = this.#watching.begin(id, signal);
    try {
      while (!signal.aborted && !this.#stopping) {
        const record = await this.#find(id, true);
        if (!record || finalStates.has(record.state)) return record;
        this.#ticker?.hurry();
        await waiter.change();
      }
      return undefined;
    } finally {
      waiter.done();
    }
  }

  cancel(id: string): Promise<CancelResult> {
    return this.#run<Buffer>(this.#scripts.cancel, [id]).then((answer) => answer.toString() as CancelResult);
  }

  async lanes(): Promise<LaneStats[]> {
    return (await this.#run<[Buffer, Buffer][]>(this.#scripts.lanes, [])).map(unpackLane);
  }

  async pause(lane: string): Promise<void> {
    await this.#run(this.#scripts.pause, [lane, '1']);
  }

  async resume(lane: string): Promise<void> {
    await this.#run(this.#scripts.pause, [lane, '0']);
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    this.#unsubscribe?.();
    this.#ticker?.stop();
    this.#waiting.wakeAll();
    this.#watching.wakeAll();
    if (!this.#server) return;
    await within(this.#server.close(), deadlineMs);
  }

  async #settleAndLease(requests: readonly (LeaseRequest | Settlement)[]): Promise<(PackedLeases | number)[]> {
    const settlements = requests.filter((each) => each.kind === 'settle');
    const leases = requests.filter((each) => each.kind === 'lease');
    const answers = await this.#run<(PackedLeases | number)[]>(this.#scripts.work, [
      String(settlements.length),
      ...settlements.flatMap(({ packed }) => packed),
      ...leases.flatMap(({ lane, max, ttlMs }) => [lane, String(max), String(Math.ceil(ttlMs))]),
    ]);
    if (settlements.length > 0) failpoint('queue.after-settle');
    let [settledAt, leasedAt] = [0, settlements.length];
    const inOrder = requests.map(({ kind }) => answers[kind === 'settle' ? settledAt++ : leasedAt++]);
    if (inOrder.some((answer) => Array.isArray(answer) && answer.length > 1)) failpoint('queue.after-lease');
    return inOrder as (PackedLeases | number)[];
  }

  async #find(id: string, watch: boolean): Promise<MessageRecord | undefined> {
    const record = await this.#run<PackedRecord | null>(this.#scripts.find, [id, watch ? '1' : '0']);
    return record ? unpackRecord(record) : undefined;
  }

  /** The reply has the shape that the script gives it: this is the boundary at which that is said. */
  async #run<Reply>(...[script, values]: Parameters<Server['run']>): Promise<Reply> {
    return (await this.#open().run(script, values)) as Reply;
  }

  #open(): Server {
    if (!this.#server || this.#stopping) throw stopped();
    return this.#server;
  }

  /** A hint of what has happened, by whomever it was done. */
  #hear(message: string): void {
    // An empty list comes as {}, which Lua cannot tell from one.
    const { woken, ended } = JSON.parse(message) as { woken: readonly string[] | {}; ended: readonly string[] | {} };
    if (Array.isArray(woken)) for (const lane of woken) this.#waiting.wake(String(lane));
    if (Array.isArray(ended)) for (const id of ended) this.#watching.wake(String(id));
  }
}
