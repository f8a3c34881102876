import type { Clock } from '../contracts/clock.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Journal, JournalEntry, JournalReader, JournalSet } from '../contracts/journal.ts';

interface Follower {
  next: number;
  readonly reader: JournalReader;
}

/** What goes wrong with the next append: it is not taken, it is taken and the answer is lost, it is taken twice. */
export type AppendFault = 'lost' | 'answer lost' | 'twice';

/** A journal in memory, which several gateways of one process may share. For tests. */
export class MemoryJournal implements Journal {
  readonly origin = 0;
  readonly maxBytes: number;
  available = true;
  readonly #clock: Clock;
  readonly #entries = new Map<number, JournalEntry>();
  readonly #followers = new Set<Follower>();
  #first = 0;
  #next = 0;
  /** Of the appends to come, in their order; a fault that has happened is taken out. */
  readonly faults: AppendFault[] = [];
  /** Called before each append: what it rejects with, the append does. */
  beforeAppend: (data: Uint8Array) => Promise<void> = async () => {};

  constructor(clock: Clock, maxBytes = 2 ** 20) {
    this.#clock = clock;
    this.maxBytes = maxBytes;
  }

  async append(data: Uint8Array): Promise<number> {
    this.#check();
    await this.beforeAppend(data);
    this.#check();
    if (data.byteLength > this.maxBytes) throw new Error(`an entry of ${data.byteLength} bytes is too large`);
    const fault = this.faults.shift();
    if (fault === 'lost') throw new MillraceError('queue.unavailable', 'the append was lost');
    const position = this.#take(data);
    if (fault === 'twice') this.#take(data);
    if (fault === 'answer lost') throw new MillraceError('queue.unavailable', 'the answer was lost');
    await Promise.resolve();
    return position;
  }

  async follow(from: number, reader: JournalReader, signal: AbortSignal): Promise<void> {
    const follower = { next: from, reader };
    this.#followers.add(follower);
    signal.addEventListener('abort', () => this.#followers.delete(follower), { once: true });
    this.#feed(follower);
  }

  async read(position: number): Promise<Uint8Array | undefined> {
    this.#check();
    return this.#entries.get(position)?.data;
  }

  async bounds(): Promise<{ first: number; next: number }> {
    this.#check();
    return { first: this.#first, next: this.#next };
  }

  async trim(before: number): Promise<void> {
    this.#check();
    for (; this.#first < Math.min(before, this.#next); this.#first++) this.#entries.delete(this.#first);
  }

  /** Loses the last entry, as a broker does that had answered before it was durable. */
  loseLast(): void {
    if (this.#next > this.#first) this.#entries.delete(--this.#next);
  }

  /** Whether they hear of what is appended; what they missed comes when they do again. */
  set listening(listening: boolean) {
    this.#listening = listening;
    for (const follower of this.#followers) this.#feed(follower);
  }
  #listening = true;

  #take(data: Uint8Array): number {
    const position = this.#next++;
    // Its own copy, as on a wire.
    this.#entries.set(position, { position, at: this.#clock.now(), data: data.slice() });
    for (const follower of this.#followers) this.#feed(follower);
    return position;
  }

  #feed(follower: Follower): void {
    if (!this.#listening || !this.#followers.has(follower)) return;
    if (follower.next < this.#first) {
      follower.next = this.#first;
      follower.reader.gap(this.#first);
    }
    for (let entry = this.#entries.get(follower.next); entry; entry = this.#entries.get(follower.next)) {
      follower.next++;
      follower.reader.entry(entry);
    }
  }

  #check(): void {
    if (!this.available) throw new MillraceError('queue.unavailable', 'the broker cannot be reached');
  }
}

/** The three journals of one queue, in memory. */
export function memoryJournals(clock: Clock, maxBytes?: number): JournalSet & Record<JournalName, MemoryJournal> {
  return {
    commands: new MemoryJournal(clock, maxBytes),
    bodies: new MemoryJournal(clock, maxBytes),
    snapshots: new MemoryJournal(clock, maxBytes),
    open: async () => 'memory',
    close: async () => {},
  };
}

type JournalName = 'commands' | 'bodies' | 'snapshots';
