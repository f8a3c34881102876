import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../contracts/clock.ts';
import type { Journal } from '../contracts/journal.ts';
import type { Bodies } from './bodies.ts';
import type { Move, Ref } from './records.ts';
import type { Replica } from './replica.ts';
import type { Snapshots } from './snapshots.ts';
import type { LedgerState } from './state.ts';
import type { Writer } from './writer.ts';

/** When the journals are shortened. */
export interface Keeping {
  /** Commands between two snapshots have at least so many bytes. */
  readonly snapshotBytes: number;
  /** Bodies that were referred to between two trims have so many bytes. */
  readonly trimBytes: number;
  /** What is not in use may take so much more room than what is, before that is moved. */
  readonly slackBytes: number;
}

export const usualKeeping: Keeping = { snapshotBytes: 8 * 2 ** 20, trimBytes: 64 * 2 ** 20, slackBytes: 64 * 2 ** 20 };

export interface KeeperOptions {
  readonly replica: Replica;
  readonly writer: Writer;
  readonly snapshots: Snapshots;
  readonly commands: Journal;
  readonly bodies: Journal;
  readonly content: Bodies;
  readonly clock: Clock;
  readonly keeping: Keeping;
  readonly failed: (error: unknown) => void;
}

/** A command that refers to a body comes within this time after it, or fails. */
const settledMs = 60_000;
const movesAtOnce = 100;

/**
 * Keeps the journals short. Whoever's entry makes it due does it: that is a gateway that lives, and mostly only one. Two
 * who do it at once do each other no harm.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  #busy: Promise<void> | undefined;
  /** The newest body that was referred to, at some earlier time. */
  #settled: { readonly position: number; readonly at: number } | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** After an entry of this gateway, of so many bytes. */
  observe(bytes: number): void {
    const { state } = this.#options.replica;
    const step = Math.max(this.#options.keeping.snapshotBytes, 2 * state.snapshotBytes);
    const due = Math.floor(state.bytesSince / step) > Math.floor((state.bytesSince - bytes) / step);
    const used = state.messages.usage.everBytes - state.usedAtTrim;
    if (this.#busy || (!due && used < this.#options.keeping.trimBytes)) return;
    this.#busy = this.#keep(due)
      .catch((error: unknown) => this.#options.failed(error))
      .finally(() => {
        this.#busy = undefined;
      });
  }

  /** Resolves when what it was doing is done. */
  async idle(): Promise<void> {
    await this.#busy;
  }

  async #keep(snapshot: boolean): Promise<void> {
    if (snapshot) await this.#snapshot();
    await this.#move();
    await this.#trim();
  }

  async #snapshot(): Promise<void> {
    const { replica, snapshots, writer, commands } = this.#options;
    const { state } = replica;
    const { position } = state;
    const previous = state.snapshotAt;
    const bytes = await replica.hold((done) => snapshots.write(position, state.dump(), { turn, taken: done }));
    await writer.submit({ do: 'snapshot', position, bytes });
    // Up to the one before, so that a gateway that is a little behind need not begin from a snapshot.
    if (previous >= 0) await commands.trim(previous + 1);
  }

  /** Few bodies that live long must not keep everything that came after them. */
  async #move(): Promise<void> {
    const { replica, content, writer } = this.#options;
    const { slackBytes } = this.#options.keeping;
    const { usage } = replica.state.messages;
    if (usage.retainedBytes <= 4 * usage.liveBytes + slackBytes) return;
    const keep = 2 * usage.liveBytes + slackBytes / 2;
    const old = [...references(replica.state)].filter(({ from: [, , position = 0] }) => usage.isBehind(position, keep));
    for (let at = 0; at < old.length; at += movesAtOnce) {
      const some = old.slice(at, at + movesAtOnce);
      const bytes = await Promise.all(some.map(({ from }) => content.get(from)));
      const found = some.filter((_, index) => bytes[index]);
      const to = await content.put(bytes.filter((each) => each !== undefined));
      const moves: Move[] = found.map((each, index) => ({ ...each, to: to[index] as Ref }));
      await writer.submit({ do: 'move', moves });
    }
  }

  async #trim(): Promise<void> {
    const { replica, writer, bodies, clock } = this.#options;
    const { usage } = replica.state.messages;
    const now = clock.monotonic();
    const before = this.#settled;
    if (before && now - before.at < settledMs) return;
    this.#settled = { position: usage.newest, at: now };
    if (!before) return;
    await writer.submit({ do: 'trim', before: Math.min(usage.oldest, before.position) });
    await bodies.trim(replica.state.trimmed);
  }
}

function* references({ messages }: LedgerState): Generator<Omit<Move, 'to'>> {
  for (const { record, ref } of messages.live.values()) yield { of: 'live', id: record.id, from: ref };
  for (const { id, ref } of messages.finished.values()) if (ref) yield { of: 'finished', id, from: ref };
  for (const { record, ref } of messages.letters.values()) yield { of: 'letter', id: record.id, from: ref };
}
