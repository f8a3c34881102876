import type { AttemptError, LaneStats, NewMessage } from '../../../core/contracts/queue.ts';
import type { Linked } from '../../../core/contracts/delivery.ts';
import { Heap } from '../../../core/kit/heap.ts';

export type WaitState = 'ready' | 'blocked' | 'delayed' | 'leased';

/** A message that has not ended. Times are monotonic ms, but for `startedAt` and `dueAt`. */
export interface Stored extends Linked {
  readonly message: NewMessage;
  readonly sequence: number;
  /** Who goes first: the time at which it was (to be) ready, less what its priority is worth. */
  readonly rank: number;
  state: WaitState;
  due: number;
  readySince: number;
  readonly expiresAt: number;
  attempt: number;
  epoch: number;
  leasedUntil: number;
  startedAt: number | undefined;
  dueAt: number | undefined;
  cancelRequested: boolean;
  readonly errors: AttemptError[];
}

interface ReadyEntry {
  readonly stored: Stored;
  /** The entry is void when the message has been leased or ended since. */
  readonly epoch: number;
}

/** One function's messages: who is ready, in which order, and who waits behind whom. */
export class MemoryLane {
  readonly name: string;
  paused = false;
  readonly totals = { accepted: 0, succeeded: 0, dead: 0, expired: 0, cancelled: 0, retried: 0, stale: 0 };
  readonly #counts: Record<WaitState, number> = { ready: 0, blocked: 0, delayed: 0, leased: 0 };
  readonly #ready = new Heap<ReadyEntry>(
    (a, b) =>
      a.stored.rank < b.stored.rank || (a.stored.rank === b.stored.rank && a.stored.sequence < b.stored.sequence),
  );
  /** Unsettled messages of each order key, oldest first; only the first one may move. */
  readonly #keys = new Map<string, Stored[]>();
  readonly #waiters = new Set<() => void>();
  #size = 0;
  #bytes = 0;

  constructor(name: string) {
    this.name = name;
  }

  get size(): number {
    return this.#size;
  }

  add(stored: Stored): void {
    this.#size++;
    this.#counts[stored.state]++;
    this.#bytes += stored.message.body.byteLength;
    const { orderKey } = stored.message;
    if (orderKey === undefined) return;
    const line = this.#keys.get(orderKey);
    if (line) line.push(stored);
    else this.#keys.set(orderKey, [stored]);
  }

  isHead(stored: Stored): boolean {
    const { orderKey } = stored.message;
    return orderKey === undefined || this.#keys.get(orderKey)?.[0] === stored;
  }

  move(stored: Stored, state: WaitState): void {
    this.#counts[stored.state]--;
    this.#counts[state]++;
    stored.state = state;
  }

  makeReady(stored: Stored, since: number): void {
    stored.readySince = since;
    this.move(stored, 'ready');
    this.#ready.push({ stored, epoch: stored.epoch });
    this.wake();
  }

  next(): Stored | undefined {
    for (let entry = this.#ready.pop(); entry; entry = this.#ready.pop()) {
      const { stored, epoch } = entry;
      if (stored.state === 'ready' && stored.epoch === epoch) return stored;
    }
    return undefined;
  }

  /** Takes out what has ended; returns the one that may move now in its place. */
  remove(stored: Stored): Stored | undefined {
    this.#size--;
    this.#counts[stored.state]--;
    stored.epoch++;
    this.#bytes -= stored.message.body.byteLength;
    const { orderKey } = stored.message;
    const line = orderKey === undefined ? undefined : this.#keys.get(orderKey);
    if (!line || orderKey === undefined) return undefined;
    const wasHead = line[0] === stored;
    line.splice(line.indexOf(stored), 1);
    if (line.length === 0) this.#keys.delete(orderKey);
    return wasHead ? line[0] : undefined;
  }

  /** A planted bug: the next one of the key overtakes. */
  passOver(stored: Stored): Stored | undefined {
    const { orderKey } = stored.message;
    const line = orderKey === undefined ? undefined : this.#keys.get(orderKey);
    return line?.find((other) => other !== stored && other.state === 'blocked');
  }

  wake(): void {
    if (this.#waiters.size === 0) return;
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }

  /** Resolves with true at the next change or when the signal aborts, with false after `ms`. */
  changed(ms: number, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (changed: boolean): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.#waiters.delete(done);
        resolve(changed);
      };
      const done = (): void => settle(true);
      const timer = setTimeout(settle, Math.min(ms, 2 ** 31 - 1), false);
      signal.addEventListener('abort', done, { once: true });
      this.#waiters.add(done);
    });
  }

  stats(now: number, dead: number): LaneStats {
    let oldest = now;
    for (const { stored, epoch } of this.#ready.values()) {
      if (stored.state === 'ready' && stored.epoch === epoch) {
        oldest = Math.min(oldest, stored.readySince);
      }
    }
    return {
      lane: this.name,
      ...this.#counts,
      dead,
      bytes: this.#bytes,
      oldestReadyAgeMs: Math.max(0, now - oldest),
      paused: this.paused,
      totals: { ...this.totals },
    };
  }
}
