import type { z } from 'zod';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Clock } from '../../../core/contracts/clock.ts';
import type { DeadReason, Durability, Headers, InvocationState } from '../../../core/contracts/invocation.ts';
import type {
  AttemptError,
  CancelResult,
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
  StoredResult,
} from '../../../core/contracts/queue.ts';
import { isLinked, Ring, unlink } from '../../../core/kit/ring.ts';
import type { memoryConfig } from './index.ts';
import { MemoryDeadLetters } from './dead-letters.ts';
import { Known } from './known.ts';
import { MemoryLane, type Stored } from './lane.ts';
import { Timeline } from './timeline.ts';

/** Of what has ended without a result to be asked for: else they would be the most of what is remembered of it. */
const noHeaders: Headers = {};

/** What has run once without a failure has none: a list for each would be the rest. */
const noErrors: MessageRecord['errors'] = [];

/** Knows its message: to find it by its id costs as much as all else of a settlement. */
interface MemoryReceipt extends Receipt {
  readonly stored: Stored;
}

/** Bugs to plant, so that the contract suite can be seen to find them. */
export interface MemoryFaults {
  readonly skipEpochCheck?: boolean;
  readonly skipAttemptCount?: boolean;
  readonly releaseKeyOnRetry?: boolean;
}

/**
 * The executable specification of a queue. Everything happens between two turns of the event loop, so each operation is
 * one step by itself; time comes from the clock it is given, and every operation first does what is due by then.
 */
export class MemoryQueue implements Queue {
  readonly durability: Durability = 'memory';
  readonly deadLetters: MemoryDeadLetters;
  readonly #config: z.output<typeof memoryConfig>;
  readonly #clock: Clock;
  readonly #faults: MemoryFaults;
  readonly #lanes = new Map<string, MemoryLane>();
  readonly #known: Known;
  /** By their ttl, so that the first of each is the next of it to run out. */
  readonly #leases = new Map<number, Ring<Stored>>();
  readonly #dedup = new Map<string, { readonly id: string; readonly until: number }>();
  readonly #watchers = new Map<string, Set<() => void>>();
  readonly #timeline: Timeline;
  #sequence = 0;
  #bytes = 0;
  #stopped = false;

  constructor(config: z.output<typeof memoryConfig>, clock: Clock, faults: MemoryFaults = {}) {
    this.#config = config;
    this.#clock = clock;
    this.#faults = faults;
    this.#timeline = new Timeline(clock);
    this.#known = new Known(config.remember, clock, this.#timeline);
    this.deadLetters = new MemoryDeadLetters({
      open: () => this.#catchUp(),
      accept: (message) => this.#accept(message),
      envelopeOf: (id) => (this.#known.stored(id)?.message ?? this.#known.finished(id))?.envelope,
    });
  }

  async start(): Promise<void> {
    if (this.#config.allowVolatile) return;
    throw new MillraceError(
      'config.invalid',
      'a queue of kind memory loses everything when the process ends: set allowVolatile: true, or use kind: sqlite',
    );
  }

  async enqueue(messages: readonly NewMessage[]): Promise<EnqueueResult[]> {
    const now = this.#catchUp();
    return messages.map((message) => {
      const first = this.#duplicateOf(message);
      if (first !== undefined) return { status: 'duplicate', id: first };
      if (!message.history?.dead && this.#full(message)) return { status: 'full', id: message.id };
      this.#accept(message, now);
      return { status: 'accepted', id: message.id };
    });
  }

  async lease(name: string, max: number, { ttlMs, waitMs, signal }: LeaseOptions): Promise<Lease[]> {
    const now = this.#catchUp();
    const lane = this.#lane(name);
    const until = now + waitMs;
    let leases = signal.aborted ? [] : this.#take(lane, max, now + ttlMs, ttlMs);
    let left = waitMs;
    while (leases.length === 0 && left > 0 && !signal.aborted && !this.#stopped) {
      const changed = await lane.changed(left, signal);
      const then = this.#timeline.run();
      if (!signal.aborted) leases = this.#take(lane, max, then + ttlMs, ttlMs);
      // A clock that stands still must not keep the caller waiting: the timer has the last word.
      left = changed ? until - then : 0;
    }
    return leases;
  }

  async extend(receipt: Receipt, ttlMs: number): Promise<SettleResult> {
    const now = this.#catchUp();
    const stored = this.#current(receipt);
    if (!stored) return 'stale';
    this.#leaseUntil(stored, now + ttlMs, ttlMs);
    return 'settled';
  }

  async settle(receipt: Receipt, disposition: Disposition): Promise<SettleResult> {
    const now = this.#catchUp();
    const stored = this.#current(receipt);
    if (!stored) {
      this.#lane(receipt.lane).totals.stale++;
      return 'stale';
    }
    switch (disposition.kind) {
      case 'ack':
        this.#end(stored, 'succeeded', { result: disposition.result }, now);
        break;
      case 'dead':
        this.#addError(stored, disposition.error);
        this.#end(stored, 'dead', { reason: disposition.reason, result: disposition.result });
        break;
      case 'cancelled':
        this.#end(stored, 'cancelled', {});
        break;
      case 'retry':
        this.#retry(stored, disposition);
        break;
    }
    if (disposition.kind === 'ack' || disposition.kind === 'dead') {
      for (const effect of disposition.effects ?? []) {
        if (this.#duplicateOf(effect) === undefined) this.#accept(effect);
      }
    }
    return 'settled';
  }

  async find(id: string): Promise<MessageRecord | undefined> {
    this.#catchUp();
    const finished = this.#known.finished(id);
    if (finished) return finished;
    const stored = this.#known.stored(id);
    return stored && this.#recordOf(stored, stateOf(stored));
  }

  async finished(id: string, signal: AbortSignal): Promise<MessageRecord | undefined> {
    this.#catchUp();
    if (this.#known.stored(id) && !signal.aborted) await this.#ended(id, signal);
    return this.#known.finished(id);
  }

  async cancel(id: string): Promise<CancelResult> {
    this.#catchUp();
    const stored = this.#known.stored(id);
    if (!stored) return this.#known.finished(id) ? 'finished' : 'unknown';
    if (stored.state === 'leased') {
      stored.cancelRequested = true;
      return 'running';
    }
    this.#end(stored, 'cancelled', {});
    return 'cancelled';
  }

  async lanes(): Promise<LaneStats[]> {
    this.#catchUp();
    const now = this.#clock.monotonic();
    return [...this.#lanes.values()].map((lane) => lane.stats(now, this.deadLetters.count(lane.name)));
  }

  async pause(name: string): Promise<void> {
    this.#catchUp();
    this.#lane(name).paused = true;
  }

  async resume(name: string): Promise<void> {
    this.#catchUp();
    const lane = this.#lane(name);
    lane.paused = false;
    lane.wake();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timeline.stop();
    for (const lane of this.#lanes.values()) lane.wake();
    for (const watchers of this.#watchers.values()) for (const resolve of watchers) resolve();
  }

  /** Does what is due by now, and returns that (monotonic ms). Every operation begins with it. */
  #catchUp(): number {
    if (this.#stopped) throw new MillraceError('queue.unavailable', 'the queue has been stopped');
    return this.#timeline.run();
  }

  /** Resolves when the message ends, the queue stops or the signal aborts. */
  #ended(id: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const watchers = this.#watchers.get(id) ?? new Set();
      this.#watchers.set(id, watchers);
      const done = (): void => {
        signal.removeEventListener('abort', done);
        watchers.delete(done);
        resolve();
      };
      signal.addEventListener('abort', done, { once: true });
      watchers.add(done);
    });
  }

  #lane(name: string): MemoryLane {
    let lane = this.#lanes.get(name);
    if (!lane) {
      lane = new MemoryLane(name);
      this.#lanes.set(name, lane);
    }
    return lane;
  }

  #duplicateOf({ id, lane, dedupKey }: NewMessage): string | undefined {
    if (this.#known.has(id)) return id;
    if (dedupKey === undefined) return undefined;
    const first = this.#dedup.get(`${lane}\u0000${dedupKey}`);
    return first && first.until > this.#clock.monotonic() ? first.id : undefined;
  }

  #full({ lane: name, body }: NewMessage): boolean {
    const { limits, laneLimits } = this.#config;
    const lane = this.#lane(name);
    return (
      this.#known.waiting >= limits.messages ||
      this.#bytes + body.byteLength > limits.bytes ||
      (laneLimits.messages !== undefined && lane.size >= laneLimits.messages)
    );
  }

  #accept(given: NewMessage, now = this.#clock.monotonic()): void {
    const { history } = given;
    // To leave a member out costs more than all else here, and most have none.
    const message = 'history' in given ? withoutHistory(given) : given;
    const lane = this.#lane(message.lane);
    const due = now + (message.delayMs ?? 0);
    const stored: Stored = {
      message: { ...message, body: new Uint8Array(message.body) },
      sequence: this.#sequence++,
      rank: due - message.priority * this.#config.aging.step,
      state: 'blocked',
      due,
      readySince: now,
      expiresAt: message.maxAgeMs === undefined ? Infinity : now + message.maxAgeMs,
      attempt: history?.attempt ?? 0,
      epoch: 0,
      leasedUntil: 0,
      startedAt: undefined,
      dueAt: message.delayMs === undefined ? undefined : this.#clock.now() + message.delayMs,
      cancelRequested: false,
      errors: [],
      previous: undefined,
      next: undefined,
    };
    if (message.dedupKey !== undefined) {
      const key = `${message.lane}\u0000${message.dedupKey}`;
      const entry = { id: message.id, until: now + (message.dedupWindowMs ?? 0) };
      this.#dedup.set(key, entry);
      this.#timeline.at(entry.until, () => {
        if (this.#dedup.get(key) === entry) this.#dedup.delete(key);
      });
    }
    this.#known.add(stored);
    this.#bytes += message.body.byteLength;
    lane.totals.accepted++;
    lane.add(stored);
    if (history) this.#addError(stored, history.error);
    if (history?.dead) return this.#end(stored, 'dead', { reason: history.dead });
    if (stored.expiresAt !== Infinity) this.#timeline.at(stored.expiresAt, () => this.#expire(message.id));
    if (lane.isHead(stored)) this.#waitUntilDue(stored, now);
  }

  /** Ready now, or when its time has come. */
  #waitUntilDue(stored: Stored, now = this.#clock.monotonic()): void {
    const lane = this.#lane(stored.message.lane);
    if (stored.due <= now) {
      lane.makeReady(stored, Math.max(stored.due, stored.readySince));
      return;
    }
    lane.move(stored, 'delayed');
    const { epoch } = stored;
    this.#timeline.at(stored.due, () => {
      const waits = this.#known.stored(stored.message.id) === stored && stored.state === 'delayed';
      if (waits && stored.epoch === epoch) lane.makeReady(stored, stored.due);
    });
  }

  #take(lane: MemoryLane, max: number, leasedUntil: number, ttlMs: number): Lease[] {
    const leases: Lease[] = [];
    const startedAt = this.#clock.now();
    while (!lane.paused && !this.#stopped && leases.length < max) {
      const stored = lane.next();
      if (!stored) break;
      lane.move(stored, 'leased');
      stored.epoch++;
      if (!this.#faults.skipAttemptCount) stored.attempt++;
      stored.startedAt = startedAt;
      this.#leaseUntil(stored, leasedUntil, ttlMs);
      const { message, attempt, epoch } = stored;
      const receipt: MemoryReceipt = { id: message.id, lane: lane.name, epoch, stored };
      // A holder that changes the bytes must not change the next attempt's. A Buffer: a small one has no memory of its own.
      leases.push({ receipt, message: { ...message, body: Buffer.from(message.body) }, attempt });
    }
    return leases;
  }

  #leaseUntil(stored: Stored, leasedUntil: number, ttlMs: number): void {
    stored.leasedUntil = leasedUntil;
    unlink(stored);
    let leases = this.#leases.get(ttlMs);
    const isWatched = leases !== undefined;
    leases ??= new Ring();
    leases.add(stored);
    if (isWatched) return;
    this.#leases.set(ttlMs, leases);
    this.#watch(ttlMs, leases);
  }

  /** Looks when the first of them would run out: by then most have been settled, and cost nothing here. */
  #watch(ttlMs: number, leases: Ring<Stored>): void {
    if (!leases.first) return void this.#leases.delete(ttlMs);
    this.#timeline.at(leases.first.leasedUntil, () => {
      const { first } = leases;
      if (first && first.leasedUntil <= this.#clock.monotonic()) this.#lapse(first);
      this.#watch(ttlMs, leases);
    });
  }

  /** The lease ran out: whoever had it is taken for dead. */
  #lapse(stored: Stored): void {
    this.#addError(stored, { code: 'function.crashed', message: 'the lease ran out before the attempt had ended' });
    if (stored.cancelRequested) this.#end(stored, 'cancelled', {});
    else if (stored.attempt >= stored.message.maxAttempts) this.#end(stored, 'dead', { reason: 'crashed' });
    else this.#again(stored, 0);
  }

  #current(receipt: Receipt): Stored | undefined {
    const { id, stored, epoch } = receipt as MemoryReceipt;
    // One that has ended is in no ring of leases.
    if (stored.message.id !== id || stored.state !== 'leased' || !isLinked(stored)) return undefined;
    return stored.epoch === epoch || this.#faults.skipEpochCheck ? stored : undefined;
  }

  #retry(stored: Stored, { delayMs, error, counted = true }: Extract<Disposition, { kind: 'retry' }>): void {
    if (error) this.#addError(stored, error);
    if (!counted) stored.attempt--;
    if (stored.cancelRequested) return this.#end(stored, 'cancelled', {});
    if (counted) this.#lane(stored.message.lane).totals.retried++;
    this.#again(stored, delayMs);
  }

  #again(stored: Stored, delayMs: number): void {
    const now = this.#clock.monotonic();
    unlink(stored);
    if (now + delayMs >= stored.expiresAt) return this.#end(stored, 'expired', { reason: 'expired' });
    stored.due = now + delayMs;
    stored.readySince = stored.due;
    stored.dueAt = this.#clock.now() + delayMs;
    if (this.#faults.releaseKeyOnRetry) this.#release(this.#lane(stored.message.lane).passOver(stored));
    this.#waitUntilDue(stored);
  }

  #expire(id: string): void {
    const stored = this.#known.stored(id);
    // A running attempt may still succeed; if it asks to be repeated it is too late.
    if (stored && stored.state !== 'leased') this.#end(stored, 'expired', { reason: 'expired' });
  }

  #addError({ errors, attempt }: Stored, error: Omit<AttemptError, 'attempt' | 'at'>): void {
    errors.push({ ...error, attempt, at: this.#clock.now() });
  }

  #end(
    stored: Stored,
    state: 'succeeded' | 'dead' | 'expired' | 'cancelled',
    { reason, result }: { reason?: DeadReason; result?: StoredResult | undefined },
    now = this.#clock.monotonic(),
  ): void {
    const { message } = stored;
    const lane = this.#lane(message.lane);
    unlink(stored);
    const next = lane.remove(stored);
    lane.totals[state]++;
    this.#bytes -= message.body.byteLength;
    const record = this.#recordOf(stored, state, { finishedAt: this.#clock.now(), deadReason: reason });
    this.#known.end(record, result, message.resultTtlMs, now);
    if (reason) this.deadLetters.add(message, record, reason);
    this.#release(next);
    if (this.#watchers.size === 0) return;
    for (const resolve of this.#watchers.get(message.id) ?? []) resolve();
    this.#watchers.delete(message.id);
  }

  #release(next: Stored | undefined): void {
    if (next) this.#waitUntilDue(next);
  }

  #recordOf(
    stored: Stored,
    state: InvocationState,
    { finishedAt, deadReason }: Partial<Pick<MessageRecord, 'finishedAt' | 'deadReason'>> = {},
  ): MessageRecord {
    const { message, attempt, startedAt, dueAt, errors } = stored;
    const isBare = finishedAt !== undefined && message.resultTtlMs <= 0;
    return {
      id: message.id,
      lane: message.lane,
      state,
      attempt,
      envelope: isBare ? { ...message.envelope, headers: noHeaders } : message.envelope,
      startedAt,
      finishedAt,
      dueAt: finishedAt === undefined && stored.state === 'delayed' ? dueAt : undefined,
      errors: errors.length === 0 ? noErrors : [...errors],
      deadReason,
      result: undefined,
    };
  }
}

function withoutHistory({ history: _history, ...message }: NewMessage): NewMessage {
  return message;
}

function stateOf({ state, attempt }: Stored): InvocationState {
  if (state === 'leased') return 'running';
  if (attempt > 0) return 'failed';
  return state === 'delayed' ? 'delayed' : 'queued';
}
