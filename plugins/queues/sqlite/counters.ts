import type { DatabaseSync, StatementSync } from 'node:sqlite';

/** One lane's row: how much of what it holds, and how often what happened. */
export interface LaneCounters {
  readonly id: number;
  readonly name: string;
  paused: number;
  ready: number;
  blocked: number;
  delayed: number;
  leased: number;
  letters: number;
  bytes: number;
  accepted: number;
  succeeded: number;
  dead: number;
  expired: number;
  cancelled: number;
  retried: number;
  stale: number;
}

const columns = [
  'paused',
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
] as const satisfies readonly (keyof LaneCounters)[];

/** Counters are kept, never counted: in memory while a transaction runs, in the file from its commit on. */
export class Counters {
  readonly #database: DatabaseSync;
  readonly #update: StatementSync;
  readonly #insert: StatementSync;
  readonly #byName = new Map<string, LaneCounters>();
  readonly #byId = new Map<number, LaneCounters>();
  readonly #changed = new Set<LaneCounters>();

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#update = database.prepare(
      `UPDATE lane SET ${columns.map((column) => `${column} = ?`).join(', ')} WHERE id = ?`,
    );
    this.#insert = database.prepare('INSERT INTO lane (name) VALUES (?) RETURNING *');
    this.reload();
  }

  /** As the file has them: at start, and after a transaction that failed. */
  reload(): void {
    this.#byName.clear();
    this.#byId.clear();
    this.#changed.clear();
    for (const row of this.#database.prepare('SELECT * FROM lane').all())
      this.#add({ ...row } as unknown as LaneCounters);
  }

  /** The lane, to be changed: it is written with the transaction. */
  change(name: string): LaneCounters {
    const lane = this.#byName.get(name) ?? this.#add({ ...this.#insert.get(name) } as unknown as LaneCounters);
    this.#changed.add(lane);
    return lane;
  }

  changeById(id: number): LaneCounters {
    const lane = this.#byId.get(id);
    if (!lane) throw new Error(`lane ${id} is missing`);
    this.#changed.add(lane);
    return lane;
  }

  find(name: string): LaneCounters | undefined {
    return this.#byName.get(name);
  }

  nameOf(id: number): string {
    return this.#byId.get(id)?.name ?? '';
  }

  all(): Iterable<LaneCounters> {
    return this.#byName.values();
  }

  /** What changed since the last commit. */
  changed(): Iterable<LaneCounters> {
    return this.#changed;
  }

  /** Writes what changed, inside the transaction. */
  write(): void {
    for (const lane of this.#changed) this.#update.run(...columns.map((column) => lane[column]), lane.id);
  }

  committed(): void {
    this.#changed.clear();
  }

  #add(lane: LaneCounters): LaneCounters {
    this.#byName.set(lane.name, lane);
    this.#byId.set(lane.id, lane);
    return lane;
  }
}
