import type { ErrorCode } from '../../../core/contracts/errors.ts';
import type {
  AttemptError,
  CancelResult,
  DeadLetterFilter,
  EnqueueResult,
  History,
  LaneStats,
  SettleResult,
} from '../../../core/contracts/queue.ts';
import type { DeadReason, InvocationState } from '../../../core/contracts/invocation.ts';

/** Where a body lies in the bytes that came with the batch. */
export type Span = readonly [start: number, end: number];

/** Tuples, not objects: a structured clone writes every key of every object, and this is the hot path. */
export type PackedMessage = readonly [
  id: string,
  lane: string,
  /** JSON of everything but id, lane and body. */
  text: string,
  priority: number,
  maxAttempts: number,
  orderKey: string | null,
  dedupKey: string | null,
  dedupWindowMs: number,
  delayMs: number,
  maxAgeMs: number | null,
  resultTtlMs: number,
  body: Span,
  history?: History | undefined,
];

export type PackedLease = readonly [id: string, epoch: number, attempt: number, text: string, body: Uint8Array];

/** `headers` is JSON. */
export type PackedResult = readonly [status: number, headers: string, body: Span];

export type GivenError = Omit<AttemptError, 'attempt' | 'at'>;

interface Settling {
  readonly kind: 'settle';
  readonly id: string;
  readonly lane: string;
  readonly epoch: number;
}

export type Settle = Settling &
  (
    | { readonly as: 'ack'; readonly result?: PackedResult; readonly effects?: readonly PackedMessage[] }
    | {
        readonly as: 'dead';
        readonly reason: DeadReason;
        readonly error: GivenError;
        readonly result?: PackedResult;
        readonly effects?: readonly PackedMessage[];
      }
    | { readonly as: 'retry'; readonly delayMs: number; readonly error?: GivenError; readonly counted: boolean }
    | { readonly as: 'cancelled' }
  );

/** What the thread is asked to do, with the type of what it answers in `Answers`. */
export type Operation =
  | { readonly kind: 'enqueue'; readonly messages: readonly PackedMessage[] }
  | {
      readonly kind: 'lease';
      readonly lane: string;
      readonly max: number;
      readonly ttlMs: number;
      /** Under this number the answer may come later; 0 asks once. */
      readonly waiter: number;
    }
  /** Ends the wait of that number: it is answered, with nothing if nothing was leased for it by now. */
  | { readonly kind: 'abandon'; readonly waiter: number }
  | { readonly kind: 'extend'; readonly id: string; readonly epoch: number; readonly ttlMs: number }
  | Settle
  | { readonly kind: 'find'; readonly id: string }
  /** Like `find`; if it is not final, its end is told once in `ended`. */
  | { readonly kind: 'watch'; readonly id: string }
  | { readonly kind: 'unwatch'; readonly id: string }
  | { readonly kind: 'cancel'; readonly id: string }
  | { readonly kind: 'lanes' }
  | { readonly kind: 'pause'; readonly lane: string; readonly paused: boolean }
  | {
      readonly kind: 'letters';
      readonly filter: DeadLetterFilter;
      readonly limit: number;
      readonly before: number | undefined;
    }
  | { readonly kind: 'letter'; readonly id: string }
  | { readonly kind: 'letter-body'; readonly id: string }
  | {
      readonly kind: 'replay';
      readonly id: string;
      readonly newId: string;
      readonly to: string | undefined;
      readonly headers: Readonly<Record<string, string | null>> | undefined;
      readonly body: Span | undefined;
    }
  | { readonly kind: 'purge'; readonly filter: DeadLetterFilter & { readonly id?: string | undefined } }
  /** Does what is due, and nothing else. */
  | { readonly kind: 'tick' };

export interface PackedRecord {
  readonly id: string;
  readonly lane: string;
  readonly state: InvocationState;
  readonly attempt: number;
  readonly text: string;
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
  readonly dueAt: number | undefined;
  readonly errors: readonly AttemptError[];
  readonly deadReason: DeadReason | undefined;
  readonly result:
    | { readonly status: number; readonly headers: string; readonly body: Uint8Array }
    | 'expired'
    | undefined;
}

export interface PackedLetter {
  readonly id: string;
  readonly lane: string;
  readonly reason: DeadReason;
  readonly attempt: number;
  readonly text: string;
  readonly bodyBytes: number;
  readonly errors: readonly AttemptError[];
  readonly diedAt: number;
}

export interface Answers {
  /** `disk-full`: nothing was accepted, for want of space. */
  enqueue: EnqueueResult[] | 'disk-full';
  /** null: the answer comes later, under the waiter's number. */
  lease: PackedLease[] | null;
  abandon: undefined;
  extend: SettleResult;
  settle: SettleResult;
  find: PackedRecord | undefined;
  watch: PackedRecord | undefined;
  unwatch: undefined;
  cancel: CancelResult;
  lanes: LaneStats[];
  pause: undefined;
  letters: { readonly items: PackedLetter[]; readonly cursor: string | undefined };
  letter: PackedLetter | undefined;
  'letter-body': Uint8Array | undefined;
  replay: boolean;
  purge: number;
  tick: undefined;
}

export interface Settings {
  readonly path: string;
  readonly agingStepMs: number;
  readonly maxMessages: number;
  readonly maxBytes: number;
  readonly minFreeDisk: number;
  readonly maxLaneMessages: number | undefined;
  readonly retentionMs: number;
  readonly tombstonesMs: number;
}

export type ToThread =
  | {
      readonly kind: 'open';
      /** Wall clock, ms. */
      readonly now: number;
    }
  | {
      readonly kind: 'batch';
      /** Queue time, ms: the wall clock when the file was opened, and since then the monotonic one. */
      readonly time: number;
      /** Wall clock, ms: only for what people read. */
      readonly wall: number;
      readonly operations: readonly Operation[];
      readonly bodies: Uint8Array | undefined;
    }
  | { readonly kind: 'close' };

/** Leases for those who waited, by their number. */
export type Late = readonly (readonly [waiter: number, leases: readonly PackedLease[]])[];

export type FromThread =
  | {
      readonly kind: 'opened';
      /** Queue time never falls below this one, whatever the wall clock says. */
      readonly time: number;
      readonly recovered: number;
      readonly messages: number;
    }
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly message: string }
  | {
      readonly kind: 'done';
      /** In the order of the operations; an Error for one that alone could not be done. */
      readonly answers: readonly unknown[];
      readonly late: Late;
      /** Watched ones that are final now. */
      readonly ended: readonly string[];
      /** Queue time at which something is due. */
      readonly next: number;
      /** Dead letters that are kept. */
      readonly letters: number;
      readonly space: Space;
    }
  | { readonly kind: 'failed'; readonly message: string; readonly late: Late; readonly space: Space };

/** On the disk of the file. */
export interface Space {
  /** For us, bytes. */
  readonly free: number;
  /** It is enough for new messages. */
  readonly isEnough: boolean;
}
