import type { z } from 'zod';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Clock } from '../../../core/contracts/clock.ts';
import type { DeadReason, Durability, InvocationState } from '../../../core/contracts/invocation.ts';
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
import type { memoryConfig } from './index.ts';
import { MemoryDeadLetters } from './dead-letters.ts';
import { MemoryLane, type Stored } from './lane.ts';
import { Timeline } from './timeline.ts';

/** Bugs to plant, so that the contract suite can be seen to find them. */
export interface MemoryFaults {
  readonly skipEpochCheck?: boolean;
  readonly skipAttemptCount?: boolean;
  readonly releaseKeyOnRetry?: boolean;
}

interface Finished {
  readonly record: MessageRecord;
  /** Undefined once it has outlived its lifetime. */
  result: StoredResult | 'expired' | undefined;
  /** Monotonic ms: it is forgotten then. */
  readonly until: number;
}

/** How long it is remembered that there was an invocation whose result is gone, ms. */
const tombstoneMs = 86_400_000;

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
  readonly #messages = new Map<string, Stored>();
  /** In the order of their ends. */
  readonly #finished = new Map<string, Finished>();
  #resultBytes = 0;
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
    this.deadLetters = new MemoryDeadLetters({
      open: () => this.#catchUp(),
      accept: (message) => this.#accept(message),
      envelopeOf: (id) => (this.#messages.get(id)?.message ?? this.#remembered(id)?.record)?.envelope,
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
    this.#catchUp();
    return messages.map((message) => {
      const first = this.#duplicateOf(message);
      if (first !== undefined) return { status: 'duplicate', id: first };
      if (!message.history?.dead && this.#full(message)) return { status: 'full', id: message.id };
      this.#accept(message);
      return { status: 'accepted', id: message.id };
    });
  }

  async lease(name: string, max: number, { ttlMs, waitMs, signal }: LeaseOptions): Promise<Lease[]> {
    this.#catchUp();
    const lane = this.#lane(name);
    const until = this.#clock.monotonic() + waitMs;
    let leases = signal.aborted ? [] : this.#take(lane, max, ttlMs);
    let left = waitMs;
    while (leases.length === 0 && left > 0 && !signal.aborted && !this.#stopped) {
      const changed = await lane.changed(left, signal);
      this.#timeline.run();
      if (!signal.aborted) leases = this.#take(lane, max, ttlMs);
      // A clock that stands still must not keep the caller waiting: the timer has the last word.
      left = changed ? until - this.#clock.monotonic() : 0;
    }
    return leases;
  }

  async extend(receipt: Receipt, ttlMs: number): Promise<SettleResult> {
    this.#catchUp();
    const stored = this.#current(receipt);
    if (!stored) return 'stale';
    this.#leaseFor(stored, ttlMs);
    return 'settled';
  }

  async settle(receipt: Receipt, disposition: Disposition): Promise<SettleResult> {
    this.#catchUp();
    const stored = this.#current(receipt);
    if (!stored) {
      this.#lane(receipt.lane).totals.stale++;
      return 'stale';
    }
    switch (disposition.kind) {
      case 'ack':
        this.#end(stored, 'succeeded', { result: disposition.result });
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
    const finished = this.#remembered(id);
    if (finished) return { ...finished.record, result: finished.result };
    const stored = this.#messages.get(id);
    return stored && this.#recordOf(stored, stateOf(stored));
  }

  async finished(id: string, signal: AbortSignal): Promise<MessageRecord | undefined> {
    this.#catchUp();
    if (this.#messages.has(id) && !signal.aborted) await this.#ended(id, signal);
    const finished = this.#remembered(id);
    return finished && { ...finished.record, result: finished.result };
  }

  async cancel(id: string): Promise<CancelResult> {
    this.#catchUp();
    const stored = this.#messages.get(id);
    if (!stored) return this.#remembered(id) ? 'finished' : 'unknown';
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

  /** Does what is due by now. Every operation begins with it. */
  #catchUp(): void {
    if (this.#stopped) throw new MillraceError('queue.unavailable', 'the queue has been stopped');
    this.#timeline.run();
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
    if (this.#messages.has(id) || this.#remembered(id)) return id;
    if (dedupKey === undefined) return undefined;
    const first = this.#dedup.get(`${lane}\u0000${dedupKey}`);
    return first && first.until > this.#clock.monotonic() ? first.id : undefined;
  }

  #full({ lane: name, body }: NewMessage): boolean {
    const { limits, laneLimits } = this.#config;
    const lane = this.#lane(name);
    return (
      this.#messages.size >= limits.messages ||
      this.#bytes + body.byteLength > limits.bytes ||
      (laneLimits.messages !== undefined && lane.size >= laneLimits.messages)
    );
  }

  #accept({ history, ...message }: NewMessage): void {
    const now = this.#clock.monotonic();
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
    };
    if (message.dedupKey !== undefined) {
      const key = `${message.lane}\u0000${message.dedupKey}`;
      const entry = { id: message.id, until: now + (message.dedupWindowMs ?? 0) };
      this.#dedup.set(key, entry);
      this.#timeline.at(entry.until, () => {
        if (this.#dedup.get(key) === entry) this.#dedup.delete(key);
      });
    }
    this.#messages.set(message.id, stored);
    this.#bytes += message.body.byteLength;
    lane.totals.accepted++;
    lane.add(stored);
    if (history) this.#addError(stored, history.error);
    if (history?.dead) return this.#end(stored, 'dead', { reason: history.dead });
    if (stored.expiresAt !== Infinity) this.#timeline.at(stored.expiresAt, () => this.#expire(message.id));
    if (lane.isHead(stored)) this.#waitUntilDue(stored);
  }

  /** Ready now, or when its time has come. */
  #waitUntilDue(stored: Stored): void {
    const lane = this.#lane(stored.message.lane);
    if (stored.due <= this.#clock.monotonic()) {
      lane.makeReady(stored, Math.max(stored.due, stored.readySince));
      return;
    }
    lane.move(stored, 'delayed');
    const { epoch } = stored;
    this.#timeline.at(stored.due, () => {
      const waits = this.#messages.get(stored.message.id) === stored && stored.state === 'delayed';
      if (waits && stored.epoch === epoch) lane.makeReady(stored, stored.due);
    });
  }

  #take(lane: MemoryLane, max: number, ttlMs: number): Lease[] {
    const leases: Lease[] = [];
    while (!lane.paused && !this.#stopped && leases.length < max) {
      const stored = lane.next();
      if (!stored) break;
      lane.move(stored, 'leased');
      stored.epoch++;
      if (!this.#faults.skipAttemptCount) stored.attempt++;
      stored.startedAt = this.#clock.now();
      this.#leaseFor(stored, ttlMs);
      const { message, attempt, epoch } = stored;
      // Its own copy of the body: a holder that transfers or changes the bytes must not change the next attempt's.
      const copy = { ...message, body: new Uint8Array(message.body) };
      leases.push({ receipt: { id: message.id, lane: lane.name, epoch }, message: copy, attempt });
    }
    return leases;
  }

  #leaseFor(stored: Stored, ttlMs: number): void {
    stored.leasedUntil = this.#clock.monotonic() + ttlMs;
    const { epoch, leasedUntil } = stored;
    const { id } = stored.message;
    // By its id: it may be gone long before, and would be kept until then.
    this.#timeline.at(leasedUntil, () => {
      const leased = this.#messages.get(id);
      const isSame = leased?.state === 'leased' && leased.epoch === epoch && leased.leasedUntil === leasedUntil;
      if (isSame) this.#lapse(leased);
    });
  }

  /** The lease ran out: whoever had it is taken for dead. */
  #lapse(stored: Stored): void {
    this.#addError(stored, { code: 'function.crashed', message: 'the lease ran out before the attempt had ended' });
    if (stored.cancelRequested) this.#end(stored, 'cancelled', {});
    else if (stored.attempt >= stored.message.maxAttempts) this.#end(stored, 'dead', { reason: 'crashed' });
    else this.#again(stored, 0);
  }

  #current({ id, epoch }: Receipt): Stored | undefined {
    const stored = this.#messages.get(id);
    if (stored?.state !== 'leased') return undefined;
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
    if (now + delayMs >= stored.expiresAt) return this.#end(stored, 'expired', { reason: 'expired' });
    stored.due = now + delayMs;
    stored.readySince = stored.due;
    stored.dueAt = this.#clock.now() + delayMs;
    if (this.#faults.releaseKeyOnRetry) this.#release(this.#lane(stored.message.lane).passOver(stored));
    this.#waitUntilDue(stored);
  }

  #expire(id: string): void {
    const stored = this.#messages.get(id);
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
  ): void {
    const { message } = stored;
    const lane = this.#lane(message.lane);
    const next = lane.remove(stored);
    lane.totals[state]++;
    this.#messages.delete(message.id);
    this.#bytes -= message.body.byteLength;
    const record: MessageRecord = {
      ...this.#recordOf(stored, state),
      finishedAt: this.#clock.now(),
      dueAt: undefined,
      deadReason: reason,
    };
    this.#remember(record, result, message.resultTtlMs);
    if (reason) this.deadLetters.add(message, record, reason);
    this.#release(next);
    for (const resolve of this.#watchers.get(message.id) ?? []) resolve();
    this.#watchers.delete(message.id);
  }

  /** Its result for so long, and then for a day that it was there; less where that would be too much. */
  #remember(record: MessageRecord, result: StoredResult | undefined, resultTtlMs: number): void {
    const now = this.#clock.monotonic();
    const gone = now + resultTtlMs;
    const hasResult = resultTtlMs > 0;
    const finished: Finished = { record, result: hasResult ? result : 'expired', until: gone + tombstoneMs };
    this.#finished.set(record.id, finished);
    if (hasResult) {
      this.#resultBytes += sizeOf(finished);
      this.#timeline.at(gone, () => this.#loseResult(finished));
    }
    const { invocations, bytes } = this.#config.remember;
    for (const [id, oldest] of this.#finished) {
      if (oldest.until > now && this.#finished.size <= invocations && this.#resultBytes <= bytes) break;
      this.#loseResult(oldest);
      this.#finished.delete(id);
    }
  }

  #remembered(id: string): Finished | undefined {
    const finished = this.#finished.get(id);
    return finished && finished.until > this.#clock.monotonic() ? finished : undefined;
  }

  #loseResult(finished: Finished): void {
    this.#resultBytes -= sizeOf(finished);
    finished.result = 'expired';
  }

  #release(next: Stored | undefined): void {
    if (next) this.#waitUntilDue(next);
  }

  #recordOf(stored: Stored, state: InvocationState): MessageRecord {
    const { message, attempt, startedAt, dueAt, errors } = stored;
    return {
      id: message.id,
      lane: message.lane,
      state,
      attempt,
      envelope: message.envelope,
      startedAt,
      finishedAt: undefined,
      dueAt: stored.state === 'delayed' ? dueAt : undefined,
      errors: [...errors],
      deadReason: undefined,
      result: undefined,
    };
  }
}

function stateOf({ state, attempt }: Stored): InvocationState {
  if (state === 'leased') return 'running';
  if (attempt > 0) return 'failed';
  return state === 'delayed' ? 'delayed' : 'queued';
}

function sizeOf({ result }: Finished): number {
  return typeof result === 'object' ? result.body.byteLength : 0;
}
