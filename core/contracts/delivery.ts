import type { Credit } from './connector.ts';
import type { Lease, NewMessage } from './queue.ts';
import type { Body, DeadReason, Durability, Headers, Invocation, Mode, Outcome, ReplyTarget } from './invocation.ts';
import type { SourceMessage } from './message.ts';
import type { FunctionEntry } from './provider.ts';

/** What a source knows of a request, before anything has been decided about it. */
export interface DeliveryRequest {
  /** The function as the sender named it: `name` or `name.namespace`. */
  readonly function: string;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** The delivery's own: the pipeline adds to them. */
  readonly headers: Record<string, string | readonly string[]>;
  readonly body: Body;
  /** Set when the source, not a header, decides. */
  readonly mode?: Mode | undefined;
  /** What the source fixes and no header may change. Not to be spread: what costs something may be a getter. */
  readonly options?: DeliveryOptions | undefined;
  /** How often a broker has handed it out, this time included; 1 without it. */
  readonly attempt?: number | undefined;
  /** Wall clock, ms: when it was taken, where its source has just looked. To look costs as much as a stage. */
  readonly takenAt?: number | undefined;
  readonly replyTo?: ReplyTarget | undefined;
  /** Its source waits with the next ones until it has ended, retries included, so that it must not go on in a queue. */
  readonly keepsOrder?: boolean | undefined;
  /**
   * Somebody waits for the answer, and yet it is an event: its source has made sure of who sent it (a signature). Else
   * whoever waits is a caller, and the function may ask who he is.
   */
  readonly isEvent?: boolean | undefined;
  /** The headers of each of the messages that were joined to this request, if there are several. */
  readonly joined?: readonly Headers[] | undefined;
  /** The ids of the messages in it, where the answer may name those that failed. */
  readonly items?: readonly string[] | undefined;
  /** Set when a queue handed the work out: everything else about it is in the message. */
  readonly lease?: Lease | undefined;
}

export interface DeliveryOptions {
  readonly priority?: number | undefined;
  readonly orderKey?: string | undefined;
  readonly dedupKey?: string | undefined;
  readonly dedupWindowMs?: number | undefined;
  readonly delayMs?: number | undefined;
  readonly maxAgeMs?: number | undefined;
}

/** Given with an accepted invocation. `id` is that of the first one if this was a duplicate. */
export interface Accepted {
  readonly id: string;
  readonly callId: string;
  readonly duplicate: boolean;
  readonly durability: Durability;
}

/**
 * What the pipeline says to a source, exactly once:
 * - `done`: the function ran, or the platform refused; `outcome` is the answer. A lease is acknowledged.
 * - `accepted`: durable in one of our queues. A broker's message may be acknowledged.
 * - `retry`: give it to us again after `delayMs`. `counted: false` hands it back as if it had not been leased.
 * - `dead`: it will not be tried again. Of a lease: keep it whole. Of a connector's message: a queue has it among its
 *   dead letters already, so that it may be acknowledged.
 * - `cancelled`: somebody asked for it to stop.
 * `effects` are messages that must become durable together with the settlement (callbacks, follow-up invocations).
 */
export type Verdict =
  | { readonly kind: 'done'; readonly outcome: Outcome; readonly effects: readonly NewMessage[] }
  | { readonly kind: 'accepted'; readonly accepted: Accepted }
  | { readonly kind: 'retry'; readonly delayMs: number; readonly outcome: Outcome; readonly counted: boolean }
  | {
      readonly kind: 'dead';
      readonly reason: DeadReason;
      readonly outcome: Outcome;
      readonly effects: readonly NewMessage[];
    }
  | { readonly kind: 'cancelled'; readonly outcome: Outcome };

/**
 * `client-gone`: the caller closed the connection. `cancelled`: somebody asked for it. `stopping`: the gateway's drain
 * deadline has passed. `lease-lost`: another holder has the message now.
 */
export type AbortReason = 'client-gone' | 'cancelled' | 'stopping' | 'lease-lost';

/** What a delivery is at, and how that is interrupted. An object of its stage's own, so that it costs no closure. */
export interface Interruptible {
  interrupt(reason: AbortReason): void;
}

/** The span of a delivery, where there is tracing. */
export interface DeliveryTrace {
  /** Its attempt begins now: before that it waited. */
  started(): void;
  ended(verdict: Verdict | undefined): void;
}

/** What `decide` chose. */
export type Decision = 'run' | 'enqueued' | 'refused';

/**
 * How a source is told the end of a delivery. `replies`: a caller waits, `done` and `accepted` are all it is ever
 * told. `settles`: it can take the message back, so that `retry` and `dead` are meant for it as well.
 */
export interface Settlement {
  readonly kind: 'replies' | 'settles';
  /** Called exactly once by the pipeline. A rejection is logged and counted; it never stops the stream. */
  settle(verdict: Verdict, delivery: Delivery): void | Promise<void>;
}

/**
 * An invocation on its way through the stages, with the settlement owed to its sender. Each stage fills in its own
 * part; a stage that finds `outcome` set by an earlier one leaves the delivery as it is.
 */
export class Delivery implements Linked {
  /** Instance name of the connector, or `queue:NAME` for a lease. */
  readonly source: string;
  readonly request: DeliveryRequest;
  readonly settlement: Settlement;
  /** What a connector of messages told of it. */
  readonly message: SourceMessage | undefined;
  /** Set by `abort`: why nobody wants the answer any more. */
  aborted: AbortReason | undefined = undefined;
  /** Set by the stage at work while it can be interrupted. */
  work: Interruptible | undefined = undefined;

  /** analyze */
  invocation: Invocation | undefined = undefined;
  /** analyze: only for asynchronous ones. */
  options: DeliveryOptions | undefined = undefined;
  /** lookup */
  entry: FunctionEntry | undefined = undefined;
  /** lookup: its caller was let in to wait for the function to start, and is not turned away after that. */
  isLetIn = false;
  /** decide */
  decision: Decision | undefined = undefined;
  accepted: Accepted | undefined = undefined;
  /** decide: where a slot of the function was taken, which is to be given back. */
  slots: { release(): void } | undefined = undefined;
  /** Monotonic ms: when the run began. */
  startedAt = 0;
  /** execute, or whichever stage ended it earlier. */
  outcome: Outcome | undefined = undefined;
  /** Set by the host: what the source took for this delivery, given back once it is settled. */
  credit: Pick<Credit, 'giveBack'> | undefined = undefined;
  /** Set by the host: its place among what its connector has in the pipeline. */
  previous: Linked | undefined = undefined;
  next: Linked | undefined = undefined;
  /** analyze, where there is tracing. */
  trace: DeliveryTrace | undefined = undefined;
  /** Set when the pipeline has taken it: a source that emits it twice must not have it run twice. */
  entered = false;

  constructor(source: string, request: DeliveryRequest, settlement: Settlement, message?: SourceMessage) {
    this.source = source;
    this.request = request;
    this.settlement = settlement;
    this.message = message;
  }

  /**
   * Interrupts the delivery, wherever it is. A plain call rather than an AbortSignal: most deliveries are never
   * aborted, and a signal for each would cost more than the stages themselves. The first reason stands.
   */
  abort(reason: AbortReason): void {
    if (this.aborted !== undefined) return;
    this.aborted = reason;
    this.work?.interrupt(reason);
  }
}

/** What has a place in a ring. Only the ring changes it; undefined while it is in none. */
export interface Linked {
  previous: Linked | undefined;
  next: Linked | undefined;
}

/** A delivery that has been settled: what the pipeline emits. Without a verdict a bug kept it from being settled. */
export interface Settled {
  readonly delivery: Delivery;
  readonly verdict: Verdict | undefined;
}
