import type { Readable } from 'node:stream';
import type { ErrorCode } from './errors.ts';

/** Header names are lower case; a header that came several times is a list. */
export type Headers = Readonly<Record<string, string | readonly string[]>>;

/** Bytes in memory, a stream that is read once, or nothing. */
export type Body = Uint8Array | Readable | null;

/** Who waits for the answer: the caller now (`sync`), or nobody (`async`, through a queue). */
export type Mode = 'sync' | 'async';

/** One request to run a function. Immutable: a retry is the same invocation with a higher `attempt`. */
export interface Invocation {
  /** Unique and ordered by time of acceptance: 26 characters of Crockford base 32 (a ULID). */
  readonly id: string;
  /** The caller's own id for the call (`X-Call-Id`), or one made for it. Not necessarily unique. */
  readonly callId: string;
  /** `name.namespace` */
  readonly function: string;
  readonly mode: Mode;
  readonly method: string;
  /** What follows the function's name in the URL: empty, or beginning with `/`. */
  readonly path: string;
  /** The query string with its `?`, or empty. */
  readonly query: string;
  readonly headers: Headers;
  /**
   * Bytes are nobody's to change or to transfer: what fails goes on with them, and they may be a part of a larger buffer
   * with other messages. A function is given its own.
   */
  readonly body: Body;
  /** The connector that it came from, by instance name. */
  readonly source: string;
  /** Wall clock, ms: when the gateway took it. */
  readonly acceptedAt: number;
  /** 1 for the first try. */
  readonly attempt: number;
  /** How long one attempt may run, ms. */
  readonly timeoutMs: number;
  /** 0 (lowest) to 9 (highest). */
  readonly priority: number;
  /** Invocations of one function with the same order key run one after another, in the order of acceptance. */
  readonly orderKey: string | undefined;
  /** How many invocations, callbacks included, led to this one. Bounded, so that a cycle ends. */
  readonly depth: number;
  /** Where the outcome of an asynchronous invocation is POSTed. */
  readonly callbackUrl: string | undefined;
  /** Where a connector has the outcome published. */
  readonly replyTo: ReplyTarget | undefined;
  /** The ids of the messages in its body, where that is a batch whose answer may name those that failed. */
  readonly items?: readonly string[] | undefined;
}

/** A place at a broker. */
export interface ReplyTarget {
  /** By its name in the configuration. */
  readonly connection: string;
  /** Subject, topic, queue or stream. */
  readonly to: string;
  readonly key?: string | undefined;
  /** One JSON text that holds the whole CloudEvent, instead of attributes beside the body. */
  readonly structured?: boolean | undefined;
  /** What failed is told otherwise. */
  readonly onlySuccess?: boolean | undefined;
}

/** Why an attempt gave no answer of the function's own. */
export type FailureClass =
  | 'timeout'
  | 'crash'
  | 'connection'
  | 'cancelled'
  | 'missing'
  | 'overload'
  | 'loop'
  | 'refused'
  | 'internal';

/**
 * What came of one attempt. With `failure`, the platform made the status and the body;
 * without it they are the function's own, whatever the status says.
 */
export interface Outcome {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Body | string;
  /** Time in the provider, ms. */
  readonly durationMs: number;
  readonly failure: FailureClass | undefined;
  readonly error: { readonly code: ErrorCode; readonly message: string } | undefined;
  /** Seconds after which the caller may try again, for refusals that pass. */
  readonly retryAfterSeconds?: number | undefined;
}

/** How far what was accepted survives: of a power cut, of losing a machine, of the process's death, of nothing. */
export type Durability = 'disk' | 'replicated' | 'page-cache' | 'memory';

/** Why a message will not be tried again by itself. */
export type DeadReason = 'max_attempts' | 'permanent' | 'crashed' | 'expired' | 'unroutable' | 'loop' | 'unreadable';

/** `failed` means that the last attempt failed and another one follows; the last four are final. */
export const invocationStates = [
  'queued',
  'delayed',
  'running',
  'failed',
  'succeeded',
  'dead',
  'cancelled',
  'expired',
] as const;
export type InvocationState = (typeof invocationStates)[number];

/** The states that an invocation never leaves. */
export const finalStates: ReadonlySet<InvocationState> = new Set(['succeeded', 'dead', 'cancelled', 'expired']);
