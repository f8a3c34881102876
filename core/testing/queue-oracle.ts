import type {
  CancelResult,
  Disposition,
  EnqueueResult,
  NewMessage,
  Receipt,
  SettleResult,
} from '../contracts/queue.ts';

type End = 'succeeded' | 'dead' | 'expired' | 'cancelled';

interface Item {
  readonly message: NewMessage;
  readonly acceptedAt: number;
  readonly rank: number;
  due: number;
  attempt: number;
  epoch: number;
  leasedUntil: number | undefined;
  cancelRequested: boolean;
  end: End | undefined;
  reason: string | undefined;
  /** Attempt and code of each error. */
  readonly errors: string[];
  letter: boolean;
}

/** What a message looks like from outside, as far as every queue must agree on it. */
export interface OracleRecord {
  readonly state: string;
  readonly attempt: number;
  readonly reason: string | undefined;
  readonly errors: readonly string[];
  readonly due: boolean;
}

export interface OracleLane {
  readonly paused: boolean;
  readonly dead: number;
  readonly counts: Readonly<Record<'ready' | 'blocked' | 'delayed' | 'leased', number>>;
  readonly totals: Readonly<Record<'accepted' | End | 'stale', number>>;
}

/**
 * The contract said a second time, as plainly as it can be: one list in the order of enqueueing, with every state
 * worked out anew from the time. Slow, without timers, heaps or indexes, so that it shares no mistake with a plugin.
 */
export class QueueOracle {
  readonly #agingStepMs: number;
  readonly #items: Item[] = [];
  readonly #paused = new Set<string>();
  readonly #stale = new Map<string, number>();
  #now = 0;

  constructor(agingStepMs: number) {
    this.#agingStepMs = agingStepMs;
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const item of this.#items) {
      if (item.leasedUntil !== undefined && item.leasedUntil <= this.#now) this.#crash(item);
      if (!item.end && item.leasedUntil === undefined && this.#tooOld(item, this.#now)) end(item, 'expired', 'expired');
    }
  }

  /** The death of the process: whatever was leased had crashed. */
  reopen(): void {
    for (const item of this.#items) if (item.leasedUntil !== undefined) this.#crash(item);
  }

  enqueue(message: NewMessage): EnqueueResult {
    const first = this.#items.find(
      (item) =>
        item.message.id === message.id ||
        (message.dedupKey !== undefined &&
          item.message.lane === message.lane &&
          item.message.dedupKey === message.dedupKey &&
          this.#now < item.acceptedAt + (item.message.dedupWindowMs ?? 0)),
    );
    if (first) return { status: 'duplicate', id: first.message.id };
    const due = this.#now + (message.delayMs ?? 0);
    this.#items.push({
      message,
      acceptedAt: this.#now,
      rank: due - message.priority * this.#agingStepMs,
      due,
      attempt: 0,
      epoch: 0,
      leasedUntil: undefined,
      cancelRequested: false,
      end: undefined,
      reason: undefined,
      errors: [],
      letter: false,
    });
    return { status: 'accepted', id: message.id };
  }

  lease(lane: string, max: number, ttlMs: number): { receipt: Receipt; attempt: number }[] {
    if (this.#paused.has(lane)) return [];
    const ready = this.#items.filter((item) => item.message.lane === lane && this.#waitState(item) === 'ready');
    // A stable sort: of equal ranks the one enqueued first stays first.
    const chosen = ready.toSorted((a, b) => a.rank - b.rank).slice(0, max);
    return chosen.map((item) => {
      item.attempt++;
      item.epoch++;
      item.leasedUntil = this.#now + ttlMs;
      return { receipt: { id: item.message.id, lane, epoch: item.epoch }, attempt: item.attempt };
    });
  }

  extend(receipt: Receipt, ttlMs: number): SettleResult {
    const item = this.#held(receipt);
    if (!item) return 'stale';
    item.leasedUntil = this.#now + ttlMs;
    // An extension by nothing ends the lease.
    this.advance(0);
    return 'settled';
  }

  settle(receipt: Receipt, disposition: Disposition): SettleResult {
    const item = this.#held(receipt);
    if (!item) {
      this.#stale.set(receipt.lane, (this.#stale.get(receipt.lane) ?? 0) + 1);
      return 'stale';
    }
    item.leasedUntil = undefined;
    if ('error' in disposition && disposition.error) item.errors.push(`${item.attempt} ${disposition.error.code}`);
    if (disposition.kind === 'ack') end(item, 'succeeded');
    else if (disposition.kind === 'dead') end(item, 'dead', disposition.reason);
    else if (disposition.kind === 'cancelled') end(item, 'cancelled');
    else {
      if (disposition.counted === false) item.attempt--;
      this.#again(item, disposition.delayMs);
    }
    if (disposition.kind === 'ack' || disposition.kind === 'dead') {
      for (const effect of disposition.effects ?? []) this.enqueue(effect);
    }
    return 'settled';
  }

  cancel(id: string): CancelResult {
    const item = this.#items.find(({ message }) => message.id === id);
    if (!item) return 'unknown';
    if (item.end) return 'finished';
    if (item.leasedUntil !== undefined) {
      item.cancelRequested = true;
      return 'running';
    }
    end(item, 'cancelled');
    return 'cancelled';
  }

  pause(lane: string): void {
    this.#paused.add(lane);
  }

  resume(lane: string): void {
    this.#paused.delete(lane);
  }

  replay(id: string, newId: string, to: string | undefined): boolean {
    const item = this.#items.find(({ message, letter }) => message.id === id && letter);
    if (!item) return false;
    item.letter = false;
    const { dedupKey: _dedupKey, delayMs: _delayMs, ...message } = item.message;
    this.enqueue({ ...message, id: newId, lane: to ?? message.lane });
    return true;
  }

  purge(id: string): number {
    const item = this.#items.find(({ message, letter }) => message.id === id && letter);
    if (item) item.letter = false;
    return item ? 1 : 0;
  }

  letters(): string[] {
    return this.#items.filter(({ letter }) => letter).map(({ message }) => message.id);
  }

  record(id: string): OracleRecord | undefined {
    const item = this.#items.find(({ message }) => message.id === id);
    if (!item) return undefined;
    const waits = this.#waitState(item);
    return {
      state: item.end ?? (waits === 'leased' ? 'running' : stateWhileWaiting(item, waits)),
      attempt: item.attempt,
      reason: item.reason,
      errors: [...item.errors],
      due: waits === 'delayed',
    };
  }

  /** Lanes that ever held anything or are paused, by name. */
  lanes(): Record<string, OracleLane> {
    const lanes: Record<string, OracleLane> = {};
    for (const name of new Set([...this.#items.map(({ message }) => message.lane), ...this.#paused])) {
      const items = this.#items.filter(({ message }) => message.lane === name);
      const waiting = (state: string): number => items.filter((item) => this.#waitState(item) === state).length;
      const ended = (kind: End): number => items.filter((item) => item.end === kind).length;
      lanes[name] = {
        paused: this.#paused.has(name),
        dead: items.filter(({ letter }) => letter).length,
        counts: {
          ready: waiting('ready'),
          blocked: waiting('blocked'),
          delayed: waiting('delayed'),
          leased: waiting('leased'),
        },
        totals: {
          accepted: items.length,
          succeeded: ended('succeeded'),
          dead: ended('dead'),
          expired: ended('expired'),
          cancelled: ended('cancelled'),
          stale: this.#stale.get(name) ?? 0,
        },
      };
    }
    return lanes;
  }

  #waitState(item: Item): 'ready' | 'blocked' | 'delayed' | 'leased' | undefined {
    if (item.end) return undefined;
    if (item.leasedUntil !== undefined) return 'leased';
    const { lane, orderKey } = item.message;
    const first = this.#items.find(
      ({ end, message }) => !end && message.lane === lane && message.orderKey === orderKey,
    );
    if (orderKey !== undefined && first !== item) return 'blocked';
    return item.due > this.#now ? 'delayed' : 'ready';
  }

  #held({ id, epoch }: Receipt): Item | undefined {
    return this.#items.find((item) => item.message.id === id && item.epoch === epoch && item.leasedUntil !== undefined);
  }

  #crash(item: Item): void {
    item.leasedUntil = undefined;
    item.errors.push(`${item.attempt} function.crashed`);
    if (!item.cancelRequested && item.attempt >= item.message.maxAttempts) end(item, 'dead', 'crashed');
    else this.#again(item, 0);
  }

  #again(item: Item, delayMs: number): void {
    if (item.cancelRequested) return end(item, 'cancelled');
    item.due = this.#now + delayMs;
    if (this.#tooOld(item, item.due)) end(item, 'expired', 'expired');
  }

  #tooOld({ acceptedAt, message }: Item, at: number): boolean {
    return message.maxAgeMs !== undefined && at >= acceptedAt + message.maxAgeMs;
  }
}

function end(item: Item, kind: End, reason?: string): void {
  item.end = kind;
  item.reason = reason;
  item.letter = reason !== undefined;
}

function stateWhileWaiting({ attempt }: Item, waits: string | undefined): string {
  if (attempt > 0) return 'failed';
  return waits === 'delayed' ? 'delayed' : 'queued';
}
