import type { DeadReason } from '../contracts/invocation.ts';
import type {
  AttemptError,
  CancelResult,
  DeadLetterFilter,
  EnqueueResult,
  History,
  SettleResult,
} from '../contracts/queue.ts';

/** Where bytes are in the journal of bodies: `length` bytes from `offset` on of those entries, one after another. */
export type Ref = readonly [offset: number, length: number, ...positions: number[]];

/** What the state keeps of a message; its envelope and body are where `ref` says. */
export interface NewRecord {
  readonly id: string;
  readonly lane: string;
  readonly callId: string;
  readonly ref: Ref;
  /** Of the body. */
  readonly bytes: number;
  readonly priority: number;
  readonly maxAttempts: number;
  readonly resultTtlMs: number;
  readonly orderKey?: string | undefined;
  readonly dedupKey?: string | undefined;
  readonly dedupWindowMs?: number | undefined;
  readonly delayMs?: number | undefined;
  readonly maxAgeMs?: number | undefined;
  readonly replayOf?: string | undefined;
  readonly history?: History | undefined;
}

export type WaitState = 'ready' | 'blocked' | 'delayed' | 'leased';
export type End = 'succeeded' | 'dead' | 'expired' | 'cancelled';

/** A message that has not ended. Times are those of the ledger, ms. */
export interface Item {
  readonly record: NewRecord;
  /** Changes when the bytes are moved. */
  ref: Ref;
  readonly sequence: number;
  /** Who goes first: the time at which it was (to be) ready, less what its priority is worth. */
  readonly rank: number;
  readonly acceptedAt: number;
  state: WaitState;
  due: number;
  readySince: number;
  readonly expiresAt: number | undefined;
  attempt: number;
  epoch: number;
  leasedUntil: number;
  /** The session that has the lease. */
  holder: string | undefined;
  startedAt: number | undefined;
  cancelRequested: boolean;
  readonly errors: AttemptError[];
}

/** What is remembered of a message that has ended. */
export interface Finished {
  readonly id: string;
  readonly lane: string;
  readonly callId: string;
  readonly sequence: number;
  readonly state: End;
  readonly attempt: number;
  readonly acceptedAt: number;
  readonly startedAt: number | undefined;
  readonly finishedAt: number;
  readonly errors: readonly AttemptError[];
  readonly reason: DeadReason | undefined;
  readonly replayOf: string | undefined;
  /** Its result when `hasResult`, else the message. Undefined once it has outlived its lifetime. */
  ref: Ref | undefined;
  readonly hasResult: boolean;
  /** A small result, which the state keeps itself (`packSmallResult`) for as long as it keeps `ref`. */
  small: string | undefined;
  /** When `ref` is given up. */
  readonly goneAt: number;
  /** When all of it is. */
  readonly forgetAt: number;
}

export interface Letter {
  readonly record: NewRecord;
  ref: Ref;
  /** Grows with each letter: pages go by it, so that a letter taken out in between moves no other. */
  readonly number: number;
  readonly sequence: number;
  readonly reason: DeadReason;
  readonly attempt: number;
  readonly errors: readonly AttemptError[];
  readonly diedAt: number;
  readonly keptUntil: number;
}

/** The same for all gateways of a queue: those of the one that was started last hold. */
export interface LedgerSettings {
  readonly agingStepMs: number;
  readonly maxMessages: number;
  readonly maxBytes: number;
  readonly maxLaneMessages: number | undefined;
  readonly retentionMs: number;
  readonly tombstonesMs: number;
  /** More of what has ended than this is forgotten before its time, the oldest first. */
  readonly maxEnded: number;
}

type Trouble = Omit<AttemptError, 'attempt' | 'at'>;

/** What becomes of a lease, with bodies already appended. */
export type Verdict =
  | {
      readonly as: 'ack';
      readonly result?: Ref | undefined;
      /** Instead of `result`. */
      readonly small?: string | undefined;
      readonly effects?: readonly NewRecord[] | undefined;
    }
  | { readonly as: 'retry'; readonly delayMs: number; readonly error?: Trouble | undefined; readonly counted: boolean }
  | {
      readonly as: 'dead';
      readonly reason: DeadReason;
      readonly error: Trouble;
      readonly result?: Ref | undefined;
      readonly effects?: readonly NewRecord[] | undefined;
    }
  | { readonly as: 'cancelled' };

/** One of the places at which a moved body is referred to. */
export interface Move {
  readonly of: 'live' | 'finished' | 'letter';
  readonly id: string;
  readonly from: Ref;
  readonly to: Ref;
}

export type Command =
  | {
      readonly do: 'open';
      readonly format: number;
      readonly instance?: string | undefined;
      readonly settings: LedgerSettings;
    }
  | { readonly do: 'close' }
  /** Lets what is due by now happen. */
  | { readonly do: 'tick' }
  | { readonly do: 'enqueue'; readonly records: readonly NewRecord[] }
  | { readonly do: 'lease'; readonly lane: string; readonly max: number; readonly ttlMs: number }
  | { readonly do: 'extend'; readonly id: string; readonly epoch: number; readonly ttlMs: number }
  | {
      readonly do: 'settle';
      readonly id: string;
      readonly lane: string;
      readonly epoch: number;
      readonly verdict: Verdict;
    }
  | { readonly do: 'cancel'; readonly id: string }
  | { readonly do: 'pause'; readonly lane: string; readonly paused: boolean }
  | { readonly do: 'replay'; readonly id: string; readonly record: NewRecord }
  | { readonly do: 'purge'; readonly filter: DeadLetterFilter & { readonly id?: string | undefined } }
  | { readonly do: 'move'; readonly moves: readonly Move[] }
  /** Bodies before this position are about to be forgotten: what comes later and refers to one is void. */
  | { readonly do: 'trim'; readonly before: number }
  /** There is a snapshot as of that position. */
  | { readonly do: 'snapshot'; readonly position: number; readonly bytes: number };

/** A message as it is handed out. */
export interface Given {
  readonly record: NewRecord;
  readonly ref: Ref;
  readonly epoch: number;
  readonly attempt: number;
}

/** `lost`: the bytes that the command refers to are gone; nothing was done. */
export interface Answers {
  open: true;
  close: true;
  tick: true;
  enqueue: (EnqueueResult | 'lost')[];
  lease: Given[];
  extend: SettleResult;
  settle: SettleResult | 'lost';
  cancel: CancelResult;
  pause: true;
  replay: boolean | 'conflict' | 'lost';
  purge: number;
  move: true;
  trim: true;
  snapshot: true;
}

export type Answer = Answers[Command['do']];

/** An entry of the journal of commands. */
export interface Entry {
  readonly session: string;
  /** Of this entry within its session, ascending. One that comes a second time, or after a higher one, is void. */
  readonly number: number;
  /** The writer's time, used where the broker tells none. */
  readonly at: number;
  readonly commands: readonly Command[];
}
