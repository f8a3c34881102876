import type { Clock } from '../contracts/clock.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Journal, JournalEntry, JournalReader } from '../contracts/journal.ts';
import type { LedgerFaults } from './messages.ts';
import type { Answer, Entry, LedgerSettings } from './records.ts';
import { newerFormat, type Snapshots } from './snapshots.ts';
import { ledgerFormat, LedgerState } from './state.ts';
import { jsonOf } from '../kit/body.ts';

export interface ReplicaOptions {
  readonly commands: Journal;
  readonly snapshots: Snapshots;
  readonly settings: LedgerSettings;
  readonly faults: LedgerFaults;
  readonly clock: Clock;
  /** After each entry. `answers` is undefined when it was void. */
  readonly applied: (entry: Entry, answers: readonly Answer[] | undefined, bytes: number) => void;
  /** The journal of commands ends before that position, as of which there is a snapshot. */
  readonly filling: (upTo: number) => void;
  /** Somebody else has written into the journal of commands: for every gateway alike, that entry says nothing. */
  readonly foreign: (position: number) => void;
  /** It was made anew after a gap: anything may have changed. */
  readonly reloaded: () => void;
  /** The copy can never be right again. */
  readonly broken: (error: Error) => void;
}

/** This gateway's copy of the state, which follows the journal of commands. */
export class Replica {
  readonly #options: ReplicaOptions;
  #state: LedgerState;
  /** Monotonic, ms: when the last entry came. */
  #heardAt: number;
  /** Entries that came while the state must not change. */
  #held: JournalEntry[] | undefined;
  #reloading = false;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.#state = new LedgerState(options.settings, options.faults);
    this.#heardAt = options.clock.monotonic();
  }

  get state(): LedgerState {
    return this.#state;
  }

  /** The ledger's time, as far as it can be told without asking: never ahead of it. */
  get time(): number {
    return this.#state.now + Math.max(0, this.#options.clock.monotonic() - this.#heardAt);
  }

  /** Resolves once it has begun to follow; what was written before may still be coming. */
  async start(signal: AbortSignal): Promise<void> {
    const { commands } = this.#options;
    const { first, next } = await commands.bounds();
    const state = await this.#restore(signal);
    this.#state = state;
    const from = state.position < 0 ? commands.origin : state.position + 1;
    if (from < first) {
      throw new MillraceError(
        'queue.unavailable',
        `the journals of the queue do not belong together: there are commands ${first} to ${next - 1}, ` +
          `and the newest whole snapshot is as of ${state.position}: put back what was removed, or remove all three`,
      );
    }
    if (from > next) await this.#fill(state.position, signal);
    const reader: JournalReader = {
      entry: (entry) => this.#entry(entry),
      gap: () => void this.#reload(signal),
      lost: (error) => this.#options.broken(error),
    };
    await commands.follow(from, reader, signal);
  }

  /** Runs `work` while nothing is applied, until it calls `done`. */
  async hold<Result>(work: (done: () => void) => Promise<Result>): Promise<Result> {
    if (this.#held) throw new Error('the copy is held already');
    this.#held = [];
    return work(() => this.#release());
  }

  #release(): void {
    if (this.#reloading) return;
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const entry of held) this.#entry(entry);
  }

  /**
   * A broker that was not told to sync each write may lose the last commands of which a snapshot knows all the same. Their
   * positions are given to entries that say nothing, since what comes at them is not looked at any more.
   */
  async #fill(upTo: number, signal: AbortSignal): Promise<void> {
    const { commands, filling } = this.#options;
    filling(upTo);
    const data = Buffer.from(JSON.stringify(nothing));
    while ((await commands.append(data)) < upTo) signal.throwIfAborted();
  }

  async #restore(signal: AbortSignal): Promise<LedgerState> {
    const { settings, faults, snapshots } = this.#options;
    const state = new LedgerState(settings, faults);
    await snapshots.load(state, signal);
    return state;
  }

  /** What was missed is in a snapshot, or else it was lost. */
  async #reload(signal: AbortSignal): Promise<void> {
    this.#held ??= [];
    this.#reloading = true;
    try {
      const state = await this.#restore(signal);
      const [next] = this.#held;
      if (state.position < this.#state.position || (next && next.position > state.position + 1)) {
        throw new MillraceError(
          'queue.unavailable',
          'commands were removed that no snapshot has: the queue has a hole',
        );
      }
      this.#state = state;
      this.#reloading = false;
      this.#release();
      this.#options.reloaded();
    } catch (error) {
      if (!signal.aborted) this.#options.broken(error as Error);
    }
  }

  #entry(entry: JournalEntry): void {
    if (this.#held) {
      this.#held.push(entry);
      return;
    }
    // A snapshot may be of a later time than the entries that are still coming.
    if (entry.position <= this.#state.position) return;
    const parsed = entryOf(entry.data);
    if (!parsed) this.#options.foreign(entry.position);
    const answers = this.#state.apply(entry.position, entry.at, entry.data.byteLength, parsed ?? nothing);
    this.#heardAt = this.#options.clock.monotonic();
    if (this.#state.format > ledgerFormat) this.#options.broken(newerFormat());
    this.#options.applied(parsed ?? nothing, answers, entry.data.byteLength);
  }
}

/** What takes the place of an entry that cannot be had. */
const nothing: Entry = { session: 'filler', number: 0, at: 0, commands: [] };

/** Undefined: nobody of ours has written it. */
export function entryOf(data: Uint8Array): Entry | undefined {
  const value = jsonOf(data);
  if (typeof value !== 'object' || value === null) return undefined;
  const { session, number, at, commands } = value as Partial<Entry>;
  const isEntry = typeof session === 'string' && typeof number === 'number' && typeof at === 'number';
  return isEntry && Array.isArray(commands) ? (value as Entry) : undefined;
}
