import type { Authenticator } from '../auth/authenticator.ts';
import type { Clock } from '../contracts/clock.ts';
import type { AbortReason, Delivery } from '../contracts/delivery.ts';
import type { FailureClass, Outcome } from '../contracts/invocation.ts';
import type { FunctionAuth, RetryPolicy } from '../contracts/policy.ts';
import type { Queue } from '../contracts/queue.ts';
import type { Catalog, CatalogEntry } from '../functions/catalog.ts';
import { failed, type Refusal } from '../kit/outcome.ts';
import type { CallbackFunction } from '../delivery/callback.ts';
import type { Deadlines } from '../delivery/deadlines.ts';
import type { Emit } from '../observe/events.ts';
import type { Meter } from '../observe/meter.ts';
import type { RecentInvocations } from '../observe/recent-invocations.ts';
import type { Tracing } from '../observe/tracing.ts';
import type { Logger } from 'pino';

/**
 * One step of the way. It fills in its part of the delivery and returns nothing; a promise only where it must wait.
 * It does not throw for what is to be expected: refusals and failures are outcomes (`refuse`).
 */
export type Stage = (delivery: Delivery) => void | Promise<void>;

/** What the stages need of the gateway. */
export interface PipelineServices {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly catalog: Catalog;
  readonly deadlines: Deadlines;
  readonly meter: Meter;
  /** Undefined where nobody asks for traces. */
  readonly tracing: Tracing | undefined;
  /** Tells what happened to whoever listens; free when nobody does. */
  readonly emit: Emit;
  /** Told of what is accepted into a queue. */
  readonly recent: Pick<RecentInvocations, 'seen'>;
  /** For queued work whose function is not known any more. */
  readonly standardRetry: RetryPolicy;
  /** Queues that are up, by name; one that failed is missing. */
  readonly queues: ReadonlyMap<string, Queue>;
  /** Who callers are, for functions that ask. */
  readonly authenticator: Authenticator;
  /** Who may call a function that does not say it itself. */
  readonly functionAuth: FunctionAuth;
  readonly limits: PipelineLimits;
  /** Callers that wait in the gateway, whatever for; bounded by `limits.waiting`. */
  readonly waitingRoom: { now: number };
  /** Asks for the first replicas of a cold function. Never rejects. */
  readonly wake: (entry: CatalogEntry) => Promise<void>;
  /** Rejects, with the reason, a URL that callbacks may not go to. */
  readonly checkCallback: (url: string) => void | Promise<void>;
  /** The function of this gateway that a callback URL means, if it means one. */
  readonly callbackFunction: (url: string) => CallbackFunction | undefined;
  /** True once the gateway is to stop: work from queues is handed back instead of begun. */
  readonly stopping: () => boolean;
}

export interface PipelineLimits {
  /** Bytes of a body that goes through a queue, and of a result that is kept. */
  readonly asyncBody: number;
  readonly resultBody: number;
  /** Callers that may wait for a slot, over all functions. */
  readonly waiting: number;
  /** Invocations that may lead to one another. */
  readonly depth: number;
  readonly dedupWindowMs: number;
}

/** What a delivery waited for came, or did not in time, or nobody wants it any more. */
export function firstOf(
  delivery: Delivery,
  awaited: Promise<unknown>,
  timeoutMs: number | undefined,
): Promise<'came' | 'timeout' | AbortReason> {
  return new Promise((resolve) => {
    const timer = timeoutMs === undefined ? undefined : setTimeout(end, timeoutMs, 'timeout');
    delivery.work = { interrupt: end };
    if (delivery.aborted !== undefined) end(delivery.aborted);
    void awaited.then(() => end('came'));
    function end(result: 'came' | 'timeout' | AbortReason): void {
      clearTimeout(timer);
      delivery.work = undefined;
      resolve(result);
    }
  });
}

/** Ends the delivery with a status of the platform's own. */
export function refuse(delivery: Delivery, failure: FailureClass, refusal: Refusal): void {
  delivery.decision ??= 'refused';
  delivery.outcome = failed(failure, refusal, 0);
}

export function notDeployed(name: string): Refusal {
  return { code: 'function.missing', message: `no function "${name}" is deployed` };
}

const abortRefusals: Readonly<Record<AbortReason, Refusal>> = {
  'client-gone': { code: 'invocation.client-gone', message: 'the caller went away before the answer' },
  cancelled: { code: 'invocation.cancelled', message: 'the invocation was cancelled' },
  stopping: { code: 'gateway.stopping', message: 'the gateway stopped before the function had answered' },
  'lease-lost': { code: 'queue.unavailable', message: 'the lease of the message was lost while it ran' },
};

/** The outcome of a delivery that nobody waits for any more. */
export function abortedOutcome(reason: AbortReason, durationMs: number): Outcome {
  return failed('cancelled', abortRefusals[reason], durationMs);
}
