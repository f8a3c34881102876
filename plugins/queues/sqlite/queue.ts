import { resolve } from 'node:path';
import type { z } from 'zod';
import type { QueueHost } from '../../../core/contracts/definition.ts';
import { type Durability, finalStates } from '../../../core/contracts/invocation.ts';
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
import { Batches } from './batches.ts';
import type { sqliteConfig } from './index.ts';
import { fromWire, toWire, toWireDisposition } from './wire.ts';

/** The main thread's side: it turns calls into operations, waits for what is not there yet, and wakes who waits. */
export class SqliteQueue implements Queue {
  readonly durability: Durability = 'disk';
  readonly deadLetters: DeadLetters;
  readonly #batches: Batches;
  readonly #laneWaiters = new Map<string, Set<() => void>>();
  readonly #endWaiters = new Map<string, Set<() => void>>();
  readonly #host: QueueHost;
  #stopped = false;

  constructor(config: z.output<typeof sqliteConfig>, host: QueueHost) {
    this.#host = host;
    this.#batches = new Batches({
      clock: host.clock,
      logger: host.logger,
      thread: {
        file: resolve(host.baseFolder, config.path),
        agingStepMs: config.aging.step,
        limits: { ...config.limits, perLane: config.laneLimits.messages },
        letterRetentionMs: config.deadLetter.retention,
        tombstoneMs: config.tombstones,
      },
      watched: () => this.#endWaiters.size > 0,
      onReady: (lane) => wake(this.#laneWaiters, lane),
      onEnded: (id) => wake(this.#endWaiters, id),
      onDeath: (error) => host.fail(error),
    });
    this.deadLetters = deadLettersOver(this.#batches);
  }

  async start(): Promise<void> {
    await this.#batches.open();
  }

  enqueue(messages: readonly NewMessage[]): Promise<EnqueueResult[]> {
    return this.#batches.run('enqueue', { messages: messages.map(toWire) });
  }

  async lease(lane: string, max: number, { ttlMs, waitMs, signal }: LeaseOptions): Promise<Lease[]> {
    const { clock } = this.#host;
    const until = clock.monotonic() + waitMs;
    for (;;) {
      // Listening before asking: what becomes ready in between must not be missed.
      const waiter = waitFor(this.#laneWaiters, lane);
      try {
        const leases = await this.#batches.run('lease', { lane, max, ttlMs });
        const left = until - clock.monotonic();
        if (leases.length > 0 || left <= 0 || signal.aborted || this.#stopped) return leases.map(fromWire);
        await firstOf(waiter.woken, left, signal);
      } finally {
        waiter.leave();
      }
      if (signal.aborted || this.#stopped) return [];
    }
  }

  extend(receipt: Receipt, ttlMs: number): Promise<SettleResult> {
    return this.#batches.run('extend', { receipt, ttlMs });
  }

  settle(receipt: Receipt, disposition: Disposition): Promise<SettleResult> {
    return this.#batches.run('settle', { receipt, disposition: toWireDisposition(disposition) });
  }

  find(id: string): Promise<MessageRecord | undefined> {
    return this.#batches.run('find', { id });
  }

  async finished(id: string, signal: AbortSignal): Promise<MessageRecord | undefined> {
    for (;;) {
      const waiter = waitFor(this.#endWaiters, id);
      try {
        const record = await this.find(id);
        if (!record || finalStates.has(record.state)) return record;
        if (signal.aborted || this.#stopped) return undefined;
        await firstOf(waiter.woken, undefined, signal);
      } finally {
        waiter.leave();
      }
      if (signal.aborted || this.#stopped) return undefined;
    }
  }

  cancel(id: string): Promise<CancelResult> {
    return this.#batches.run('cancel', { id });
  }

  lanes(): Promise<LaneStats[]> {
    return this.#batches.run('lanes', {});
  }

  async pause(lane: string): Promise<void> {
    await this.#batches.run('pause', { lane, paused: true });
  }

  async resume(lane: string): Promise<void> {
    await this.#batches.run('pause', { lane, paused: false });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const waiters of [this.#laneWaiters, this.#endWaiters]) for (const key of waiters.keys()) wake(waiters, key);
    await this.#batches.close();
  }
}

function deadLettersOver(batches: Batches): DeadLetters {
  return {
    list: (filter, limit, cursor) => batches.run('listLetters', { filter, limit, cursor }),
    get: (id) => batches.run('getLetter', { id }),
    body: (id) => batches.run('letterBody', { id }),
    replay: (id, { id: newId, to, headers, body }) => batches.run('replay', { id, newId, to, headers, body }),
    purge: ({ id, ...filter }) => batches.run('purge', { filter, id }),
  };
}

type Waiters = Map<string, Set<() => void>>;

function waitFor(waiters: Waiters, key: string): { readonly woken: Promise<void>; leave(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const set = waiters.get(key) ?? new Set();
  waiters.set(key, set.add(resolve));
  return {
    woken: promise,
    leave: () => {
      set.delete(resolve);
      if (set.size === 0 && waiters.get(key) === set) waiters.delete(key);
    },
  };
}

function wake(waiters: Waiters, key: string): void {
  for (const resolve of waiters.get(key) ?? []) resolve();
}

/** Resolves when it is woken, after `ms`, or when the signal aborts: whoever waited looks what it was. */
function firstOf(woken: Promise<void>, ms: number | undefined, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = ms === undefined ? undefined : setTimeout(done, Math.min(ms, 2 ** 31 - 1));
    signal.addEventListener('abort', done, { once: true });
    void woken.then(done);
  });
}
