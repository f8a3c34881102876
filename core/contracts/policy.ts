/** How failed attempts of queued work are repeated. */
export interface RetryPolicy {
  /** Attempts in all, the first included. */
  readonly attempts: number;
  readonly backoff: {
    readonly kind: 'exponential' | 'linear' | 'fixed';
    readonly initialMs: number;
    readonly factor: number;
    readonly maxMs: number;
    /** `full`: anywhere between 0 and the computed delay; `none`: just that. */
    readonly jitter: 'full' | 'none';
  };
  /** Failure classes (`timeout`, `connection`, `crash`, …), statuses (`503`) and classes of them (`5xx`). */
  readonly retryOn: readonly string[];
  /** The same words; wins over `retryOn` where it is the more exact one. */
  readonly failOn: readonly string[];
  readonly retryAfter: { readonly honour: boolean; readonly maxMs: number };
}

/**
 * Who may call a function over HTTP. `public`: anybody. `token`: whoever has the scope `invoke` in its namespace.
 * `event-only`: nobody; it is run for connectors and queues.
 */
export const functionAuths = ['public', 'token', 'event-only'] as const;
export type FunctionAuth = (typeof functionAuths)[number];

/** How many replicas a function has, where its provider can be told. */
export interface ScalePolicy {
  /** Never fewer while it is not idle. */
  readonly min: number;
  readonly max: number;
  /** No replica once it has been idle for `zeroAfterMs`. */
  readonly zero: boolean;
  readonly zeroAfterMs: number;
  /** What is held against `target`: calls in flight, calls a second, CPU, or what waits in its queue. */
  readonly type: 'capacity' | 'rps' | 'cpu' | 'queue';
  /** What one replica is to bear, in the unit of `type`; of CPU thousandths of a core. */
  readonly target: number;
  /** The part of `target` at which another replica is asked for: above 0, at most 1. */
  readonly targetProportion: number;
  /** It is scaled down to the most that was wanted within so long. */
  readonly downWindowMs: number;
  /** Per cent of `max` that an alert of AlertManager adds. */
  readonly factor: number;
}

/** The one policy of a function, for calls and queued work alike. */
export interface FunctionPolicy {
  /** Undefined: the gateway's default. */
  readonly auth: FunctionAuth | undefined;
  readonly timeoutMs: number;
  /** Attempts at once, over all callers; also bounded by the provider's capacity. */
  readonly concurrency: number;
  /** At once for each replica, and no more than `concurrency` in all; undefined where replicas do not count. */
  readonly perReplica?: number | undefined;
  /** Callers that may wait for a slot. */
  readonly waiting: number;
  /** The queue for asynchronous work, by instance name. */
  readonly queue: string;
  readonly retry: RetryPolicy;
  readonly priority: number;
  readonly maxAgeMs: number | undefined;
  readonly result: { readonly store: boolean; readonly ttlMs: number };
  /** Functions (`name.namespace`) that get the outcome as a new invocation. */
  readonly onSuccess: readonly string[];
  readonly onFailure: readonly string[];
  /** Undefined: as many replicas as it was deployed with, until somebody asks for others. */
  readonly scale: ScalePolicy | undefined;
}
