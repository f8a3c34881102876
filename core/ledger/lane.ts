import type { LaneStats } from '../contracts/queue.ts';
import { Heap } from '../kit/heap.ts';
import type { End, Item, WaitState } from './records.ts';

interface ReadyEntry {
  readonly item: Item;
  /** The entry is void when the message has been leased or ended since. */
  readonly epoch: number;
}

/** The age of the longest wait is sought among so many that go next, so that looking costs little behind a backlog. */
const looked = 1000;

/** One function's messages: who is ready, in which order, and who waits behind whom. */
export class LedgerLane {
  readonly name: string;
  paused = false;
  /** Dead letters that are kept. */
  letters = 0;
  readonly totals = { accepted: 0, succeeded: 0, dead: 0, expired: 0, cancelled: 0, retried: 0, stale: 0 };
  readonly #counts: Record<WaitState, number> = { ready: 0, blocked: 0, delayed: 0, leased: 0 };
  readonly #ready = new Heap<ReadyEntry>(
    (a, b) => a.item.rank < b.item.rank || (a.item.rank === b.item.rank && a.item.sequence < b.item.sequence),
  );
  /** Unsettled messages of each order key, oldest first; only the first one may move. */
  readonly #keys = new Map<string, Item[]>();
  #bytes = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Messages that have not ended. */
  get size(): number {
    return this.#counts.ready + this.#counts.blocked + this.#counts.delayed + this.#counts.leased;
  }

  get ready(): number {
    return this.#counts.ready;
  }

  add(item: Item): void {
    this.#counts[item.state]++;
    this.#bytes += item.record.bytes;
    if (item.state === 'ready') this.#ready.push({ item, epoch: item.epoch });
    const { orderKey } = item.record;
    if (orderKey === undefined) return;
    const line = this.#keys.get(orderKey);
    if (line) line.push(item);
    else this.#keys.set(orderKey, [item]);
  }

  isHead(item: Item): boolean {
    const { orderKey } = item.record;
    return orderKey === undefined || this.#keys.get(orderKey)?.[0] === item;
  }

  move(item: Item, state: WaitState): void {
    this.#counts[item.state]--;
    this.#counts[state]++;
    item.state = state;
    if (state === 'ready') this.#ready.push({ item, epoch: item.epoch });
  }

  /** Takes the one that goes next out of the line of the ready; it still counts as one. */
  next(): Item | undefined {
    for (let entry = this.#ready.pop(); entry; entry = this.#ready.pop()) {
      if (isValid(entry)) return entry.item;
    }
    return undefined;
  }

  /** Takes out what has ended; returns the one that may move now in its place. */
  remove(item: Item, end: End): Item | undefined {
    this.#counts[item.state]--;
    this.totals[end]++;
    this.#bytes -= item.record.bytes;
    // No entry of a heap may take it for waiting.
    item.state = 'leased';
    const { orderKey } = item.record;
    const line = orderKey === undefined ? undefined : this.#keys.get(orderKey);
    if (!line || orderKey === undefined) return undefined;
    const at = line.indexOf(item);
    line.splice(at, 1);
    if (line.length === 0) this.#keys.delete(orderKey);
    return at === 0 ? line[0] : undefined;
  }

  stats(now: number): LaneStats {
    let oldest = now;
    for (const entry of this.#ready.values().take(looked)) {
      if (isValid(entry)) oldest = Math.min(oldest, entry.item.readySince);
    }
    return {
      lane: this.name,
      ...this.#counts,
      dead: this.letters,
      bytes: this.#bytes,
      oldestReadyAgeMs: Math.max(0, now - oldest),
      paused: this.paused,
      totals: { ...this.totals },
    };
  }
}

function isValid({ item, epoch }: ReadyEntry): boolean {
  return item.state === 'ready' && item.epoch === epoch;
}
