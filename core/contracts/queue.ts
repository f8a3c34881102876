import type { DeadReason, Durability, Headers, InvocationState, ReplyTarget } from './invocation.ts';

/** What a plugin says of itself; asking for what is `none` is an error of the configuration. */
export type Capability = 'native' | 'emulated' | 'none';

export interface QueueCapabilities {
  readonly fencedSettle: Capability;
  readonly delay: Capability;
  readonly priority: Capability;
  readonly order: Capability;
  readonly dedup: Capability;
  readonly deadLetters: Capability;
  readonly results: Capability;
  readonly pause: Capability;
  readonly cancel: Capability;
  /** Survives the death of the process. `none` for memory. */
  readonly durable: Capability;
}

/** What the queue keeps for the pipeline without looking at it. JSON, so that every broker can carry it. */
export interface Envelope {
  readonly callId: string;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Headers;
  readonly source: string;
  readonly depth: number;
  /** Wall clock, ms. */
  readonly acceptedAt: number;
  readonly timeoutMs?: number | undefined;
  readonly callbackUrl?: string | undefined;
  readonly replyTo?: ReplyTarget | undefined;
  /** As of the invocation. */
  readonly items?: readonly string[] | undefined;
  /** The id of the dead letter that this is a replay of. */
  readonly replayOf?: string | undefined;
}

/** What became of a message before it came to the queue: a broker's message that was tried, and failed. */
export interface History {
  /** Attempts so far, at least 1: the next one counts on from here. */
  readonly attempt: number;
  /** Of the last of them. */
  readonly error: Omit<AttemptError, 'attempt' | 'at'>;
  /** It will not be tried again: it is a dead letter at once, whatever the limits and its delay say. */
  readonly dead?: DeadReason | undefined;
}

export interface NewMessage {
  /** The invocation's id: unique, ordered by time. Enqueueing the same id twice is a duplicate, not a second message. */
  readonly id: string;
  /** `name.namespace` of the function. */
  readonly lane: string;
  readonly envelope: Envelope;
  readonly body: Uint8Array;
  /** 0 (lowest) to 9 (highest). */
  readonly priority: number;
  /** Leases after which a crash makes it a dead letter. At least 1. */
  readonly maxAttempts: number;
  readonly orderKey?: string | undefined;
  /** Within `dedupWindowMs` a second message of the same lane and key is a duplicate of the first. */
  readonly dedupKey?: string | undefined;
  readonly dedupWindowMs?: number | undefined;
  /** Not leased before this many ms have passed. */
  readonly delayMs?: number | undefined;
  /** Expires, if no attempt has begun, this many ms after it was accepted. Also bounds retries. */
  readonly maxAgeMs?: number | undefined;
  /** How long the record of its end is kept, ms. */
  readonly resultTtlMs: number;
  /** Not part of what is leased or replayed. */
  readonly history?: History | undefined;
}

export type EnqueueResult =
  | { readonly status: 'accepted'; readonly id: string }
  /** `id` is that of the message that was first. */
  | { readonly status: 'duplicate'; readonly id: string }
  /** A limit of the queue or the lane was reached; nothing was kept of it. */
  | { readonly status: 'full'; readonly id: string };

/** The right to settle one lease, once. Opaque to everyone but the queue that gave it. */
export interface Receipt {
  readonly id: string;
  readonly lane: string;
  /** Grows with every lease of the message; a settlement with an older one changes nothing. */
  readonly epoch: number;
}

export interface Lease {
  readonly receipt: Receipt;
  readonly message: NewMessage;
  /** This one included, so 1 at first. Counted durably before the lease was given. */
  readonly attempt: number;
}

/** What went wrong in one attempt, kept with the message for ever. */
export interface AttemptError {
  readonly attempt: number;
  /** Wall clock, ms. */
  readonly at: number;
  readonly code: string;
  readonly message: string;
  /** The status, where the function or the platform gave one. */
  readonly status?: number | undefined;
}

/** The function's own answer, kept for whoever asks later. */
export interface StoredResult {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** What becomes of a leased message. `effects` become durable in the same step, or not at all. */
export type Disposition =
  | { readonly kind: 'ack'; readonly result?: StoredResult | undefined; readonly effects?: readonly NewMessage[] }
  | {
      readonly kind: 'retry';
      readonly delayMs: number;
      readonly error?: Omit<AttemptError, 'attempt' | 'at'> | undefined;
      /** false: hand back as if it had never been leased (drain, no slot). Default true. */
      readonly counted?: boolean;
    }
  | {
      readonly kind: 'dead';
      readonly reason: DeadReason;
      readonly error: Omit<AttemptError, 'attempt' | 'at'>;
      readonly result?: StoredResult | undefined;
      readonly effects?: readonly NewMessage[];
    }
  | { readonly kind: 'cancelled' };

/** `stale`: the lease had run out or been taken over; nothing was changed. */
export type SettleResult = 'settled' | 'stale';

/** What is known of one message, whatever became of it. */
export interface MessageRecord {
  readonly id: string;
  readonly lane: string;
  readonly state: InvocationState;
  readonly attempt: number;
  readonly envelope: Envelope;
  /** Wall clock, ms, of the last lease. */
  readonly startedAt: number | undefined;
  /** Wall clock, ms. */
  readonly finishedAt: number | undefined;
  /** Wall clock, ms: when the next attempt may begin (delayed, failed). */
  readonly dueAt: number | undefined;
  readonly errors: readonly AttemptError[];
  readonly deadReason: DeadReason | undefined;
  /** Undefined until it finished; `'expired'` when it has outlived its lifetime. */
  readonly result: StoredResult | 'expired' | undefined;
}

export type CancelResult =
  /** It will never run. */
  | 'cancelled'
  /** It is running: it will not be tried again, and whoever runs it should stop it. */
  | 'running'
  | 'finished'
  | 'unknown';

export interface LaneStats {
  readonly lane: string;
  /** May be leased now. */
  readonly ready: number;
  /** Wait behind another message of their order key. */
  readonly blocked: number;
  readonly delayed: number;
  readonly leased: number;
  /** Dead letters that are kept. */
  readonly dead: number;
  /** Bytes of the bodies that wait. */
  readonly bytes: number;
  /** Age of the message that has waited longest since it was ready, ms. 0 when none. */
  readonly oldestReadyAgeMs: number;
  readonly paused: boolean;
  /** Since the queue was made: accepted = ready + blocked + delayed + leased + the four ends. */
  readonly totals: {
    readonly accepted: number;
    readonly succeeded: number;
    readonly dead: number;
    readonly expired: number;
    readonly cancelled: number;
    readonly retried: number;
    readonly stale: number;
  };
}

export interface DeadLetterFilter {
  readonly lane?: string | undefined;
  readonly reason?: DeadReason | undefined;
}

export interface DeadLetter {
  readonly id: string;
  readonly lane: string;
  readonly reason: DeadReason;
  readonly attempt: number;
  readonly envelope: Envelope;
  readonly bodyBytes: number;
  readonly errors: readonly AttemptError[];
  /** Wall clock, ms. */
  readonly diedAt: number;
}

export interface DeadLetterPage {
  readonly items: readonly DeadLetter[];
  /** Give this to `list` for the next page; undefined at the end. */
  readonly cursor: string | undefined;
}

export interface ReplayOptions {
  /** Another function (`name.namespace`). */
  readonly to?: string | undefined;
  /** Set (string) or removed (null) before the replay. */
  readonly headers?: Readonly<Record<string, string | null>> | undefined;
  readonly body?: Uint8Array | undefined;
  /** The id that the new invocation gets. Replaying with the same one again changes nothing. */
  readonly id: string;
}

export interface DeadLetters {
  /** Newest first. Takes nothing out and changes no attempt. */
  list(filter: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage>;
  get(id: string): Promise<DeadLetter | undefined>;
  /** The bytes that were accepted. */
  body(id: string): Promise<Uint8Array | undefined>;
  /**
   * Makes a new invocation of a dead letter, with attempts from 1 and `replayOf` set, and takes the letter out, in one
   * step. Returns false when there is no such letter.
   */
  replay(id: string, options: ReplayOptions): Promise<boolean>;
  /** Returns how many were removed. */
  purge(filter: DeadLetterFilter & { readonly id?: string | undefined }): Promise<number>;
}

export interface LeaseOptions {
  /** How long the lease lasts unless it is extended, ms. */
  readonly ttlMs: number;
  /** How long to wait for work when there is none, ms. 0 asks once. */
  readonly waitMs: number;
  /** Ends the wait; what had been leased by then is returned, never lost. */
  readonly signal: AbortSignal;
}

/**
 * Keeps invocations until they have been run. One lane a function. The guarantees G1–G14 are checked by
 * `queueContract` of `millrace/testing`, against every plugin.
 *
 * Every method rejects with MillraceError `queue.unavailable` when the queue cannot be reached or written; then nothing
 * was changed, or (only after a crash) it cannot be known, and the same call may be made again. `enqueue` alone also
 * rejects with `queue.disk-full`.
 */
export interface Queue {
  /** Known once `start` has resolved. */
  readonly durability: Durability;
  /**
   * Opens it, and recovers what a dead process had leased. Rejects when what it is told to use is not safe, and leaves nothing
   * open then: one that works over a connection is made and started anew, unless that was an error of Millrace without
   * `retryAfterSeconds`.
   */
  start(): Promise<void>;
  /** Resolves, in the order of `messages`, once the accepted ones are as durable as `durability` says (G1). */
  enqueue(messages: readonly NewMessage[]): Promise<EnqueueResult[]>;
  /** At most `max`, highest effective priority first (G6), never two of one order key (G7). The attempt is counted here (G4). */
  lease(lane: string, max: number, options: LeaseOptions): Promise<Lease[]>;
  /** Makes the lease last `ttlMs` from now. */
  extend(receipt: Receipt, ttlMs: number): Promise<SettleResult>;
  /** Says once what became of a lease (G3). */
  settle(receipt: Receipt, disposition: Disposition): Promise<SettleResult>;
  find(id: string): Promise<MessageRecord | undefined>;
  /** Resolves with the record once it is final, or undefined when the signal aborts or there is no such message. */
  finished(id: string, signal: AbortSignal): Promise<MessageRecord | undefined>;
  cancel(id: string): Promise<CancelResult>;
  /** Lanes that hold anything, or ever did. */
  lanes(): Promise<LaneStats[]>;
  /** No more leases of this lane until `resume`; survives restart. Enqueues go on. */
  pause(lane: string): Promise<void>;
  resume(lane: string): Promise<void>;
  readonly deadLetters: DeadLetters;
  /**
   * Why it takes nothing new for now while it gives out what it has, for people; undefined when it takes what comes. The
   * gateway is then not ready, so that others are given the work. For a queue that others share it is left out.
   */
  draining?(): string | undefined;
  /** Ends waits, finishes what was begun and lets go of the storage, within the deadline where possible. */
  stop(deadlineMs: number): Promise<void>;
}
