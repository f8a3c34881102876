import type { Durability } from './invocation.ts';

/** One entry of a journal, as every reader sees it. */
export interface JournalEntry {
  /** Grows from entry to entry; by one, unless entries between were trimmed or the broker keeps marks of its own there. */
  readonly position: number;
  /** Wall clock of the broker when it took the entry, ms; undefined where the broker does not tell. */
  readonly at: number | undefined;
  readonly data: Uint8Array;
}

export interface JournalReader {
  /** Called once for each entry, in the order of positions; never before the entry is as durable as `append` says. */
  entry(entry: JournalEntry): void;
  /** What was to be read next is gone (trimmed while this reader was away): the next entry will be at `position`. */
  gap(position: number): void;
  /** The journal was removed, or is another one now: nothing more will come. */
  lost(error: Error): void;
}

/**
 * An append-only log on a broker, in one order for every reader: a JetStream stream, a Kafka topic of one partition, a
 * RabbitMQ stream queue. That is all that the ledger (`core/ledger`) asks of a broker: it makes a whole `Queue` of three
 * of them. `journalContract` of `millrace/testing` checks what is promised here.
 *
 * A journal looks after itself: it goes on from where it was when the broker comes back, within 10 s, for ever. Until
 * then everything but `follow` rejects with MillraceError `queue.unavailable`, and nothing is buffered.
 */
export interface Journal {
  /** The largest entry that it takes, bytes. Known once it was opened. */
  readonly maxBytes: number;
  /** The position of the very first entry. */
  readonly origin: number;
  /** Whether the broker can be reached now, as far as is known. */
  readonly available: boolean;
  /**
   * Resolves with the entry's position once it is as durable as the broker is told to make it. After a rejection it may
   * have been taken all the same, now or a little later, and on a retry even twice: whoever writes numbers the entries.
   * The ledger awaits each append before the next one, and never changes `data` again: a follower may be handed the same
   * bytes.
   */
  append(data: Uint8Array): Promise<number>;
  /**
   * Hands out everything from that position on, then what is appended, until `signal` aborts. Resolves once it has begun;
   * from then on it looks after itself.
   */
  follow(from: number, reader: JournalReader, signal: AbortSignal): Promise<void>;
  /** The entry's data; undefined when there is none at that position (any more). */
  read(position: number): Promise<Uint8Array | undefined>;
  /** The position of the first entry that is kept, and of the next one to be appended; the same when it is empty. */
  bounds(): Promise<{ readonly first: number; readonly next: number }>;
  /** Entries before this position may be forgotten. A broker that cannot forget at once may keep them for longer. */
  trim(before: number): Promise<void>;
}

/** What a broker's plugin gives to the ledger: three journals that are its own, and how far what it takes survives. */
export interface JournalSet {
  /** What was asked of the queue. */
  readonly commands: Journal;
  /** Envelopes, bodies and results. */
  readonly bodies: Journal;
  /** The state of the queue at some positions of `commands`. */
  readonly snapshots: Journal;
  /**
   * Declares what is not there, and looks whether what is there is safe. Rejects with `config.invalid` when the broker is
   * not safe, or holds something else under these names: the message names the difference and what to do.
   */
  open(signal: AbortSignal): Promise<Durability>;
  /** Lets go of what `open` and `follow` took; the connection is not its own. */
  close(): Promise<void>;
}
