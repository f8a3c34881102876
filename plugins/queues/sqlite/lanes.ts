import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { PackedLease } from './protocol.ts';

const counters = [
  'ready',
  'blocked',
  'delayed',
  'leased',
  'letters',
  'bytes',
  'accepted',
  'succeeded',
  'dead',
  'expired',
  'cancelled',
  'retried',
  'stale',
] as const;

export type Counts = Record<(typeof counters)[number], number>;

/** A lease call that waits for work. */
export interface Waiter {
  readonly number: number;
  readonly max: number;
  readonly ttlMs: number;
}

export interface Lane {
  readonly id: number;
  readonly name: string;
  paused: boolean;
  counts: Counts;
  waiters: Waiter[];
}

interface Before {
  readonly counts: Counts;
  readonly paused: boolean;
}

/**
 * The lanes with their counters, which are kept in memory and written in the transaction that changed them: nothing is
 * ever counted by a scan. `change` must come before a lane's counters are touched, so that `undo` can restore them.
 */
export class Lanes {
  /** Unsettled messages of all lanes, and the bytes of their bodies. */
  messages = 0;
  bytes = 0;
  letters = 0;
  /** The latest time at which any lane was written. */
  readonly lastTime: number;
  readonly #byName = new Map<string, Lane>();
  readonly #byId = new Map<number, Lane>();
  readonly #changed = new Map<Lane, Before>();
  readonly #made: Lane[] = [];
  readonly #insert: StatementSync;
  readonly #update: StatementSync;

  constructor(database: DatabaseSync) {
    this.#insert = database.prepare('INSERT INTO lane (id, name, time) VALUES (?, ?, ?)');
    this.#update = database.prepare(
      `UPDATE lane SET paused = ?, time = ?, ${counters.map((name) => `${name} = ?`).join(', ')} WHERE id = ?`,
    );
    let lastTime = 0;
    for (const row of database.prepare('SELECT * FROM lane').all()) {
      const values = row as unknown as Counts & { id: number; name: string; paused: number; time: number };
      const counts = Object.fromEntries(counters.map((name) => [name, values[name]])) as Counts;
      this.#keep({ id: values.id, name: values.name, paused: values.paused === 1, counts, waiters: [] });
      lastTime = Math.max(lastTime, values.time);
    }
    this.lastTime = lastTime;
    this.#addUp();
  }

  all(): IterableIterator<Lane> {
    return this.#byId.values();
  }

  named(name: string): Lane | undefined {
    return this.#byName.get(name);
  }

  withId(id: number): Lane {
    const lane = this.#byId.get(id);
    if (!lane) throw new Error(`a message names lane ${id}, which does not exist`);
    return lane;
  }

  obtain(name: string, now: number): Lane {
    const known = this.#byName.get(name);
    if (known) return known;
    const counts = Object.fromEntries(counters.map((counter) => [counter, 0])) as Counts;
    const lane: Lane = { id: this.#byId.size + 1, name, paused: false, counts, waiters: [] };
    this.#insert.run(lane.id, name, now);
    this.#keep(lane);
    this.#made.push(lane);
    return lane;
  }

  /** The counters, to be changed. */
  change(lane: Lane): Counts {
    if (!this.#changed.has(lane)) this.#changed.set(lane, { counts: { ...lane.counts }, paused: lane.paused });
    return lane.counts;
  }

  /** In the transaction, at its end. */
  write(now: number): void {
    for (const lane of this.#changed.keys()) {
      this.#update.run(lane.paused ? 1 : 0, now, ...counters.map((name) => lane.counts[name]), lane.id);
    }
  }

  /** The transaction is durable. */
  keep(): void {
    this.#changed.clear();
    this.#made.length = 0;
  }

  /** The transaction was rolled back. */
  undo(): void {
    for (const [lane, before] of this.#changed) Object.assign(lane, before);
    for (const lane of this.#made) {
      this.#byName.delete(lane.name);
      this.#byId.delete(lane.id);
    }
    this.keep();
    this.#addUp();
  }

  #keep(lane: Lane): void {
    this.#byName.set(lane.name, lane);
    this.#byId.set(lane.id, lane);
  }

  #addUp(): void {
    this.messages = 0;
    this.bytes = 0;
    this.letters = 0;
    for (const { counts } of this.#byId.values()) {
      this.messages += counts.ready + counts.blocked + counts.delayed + counts.leased;
      this.bytes += counts.bytes;
      this.letters += counts.letters;
    }
  }
}

/** Leases that were got for a waiter in the batch at hand. */
export interface Served {
  readonly waiter: Waiter;
  readonly leases: readonly PackedLease[];
}
