import { type Clock, systemClock } from '../contracts/clock.ts';
import type { DeadReason, FailureClass, Headers, Outcome } from '../contracts/invocation.ts';
import type { RetryPolicy } from '../contracts/policy.ts';

/** What becomes of queued work after an attempt. */
export type RetryDecision =
  | { readonly kind: 'done' }
  | { readonly kind: 'retry'; readonly delayMs: number }
  | { readonly kind: 'dead'; readonly reason: DeadReason };

/** Whether an attempt reached its end: an answer of the function's own below 400. */
export function succeeded(outcome: Outcome): boolean {
  return outcome.failure === undefined && outcome.status < 400;
}

/**
 * Chooses, from the function's policy, what follows an attempt.
 *
 * Of the words that fit the outcome the more exact one decides: the failure class or the status itself (`timeout`,
 * `503`) before a class of statuses (`5xx`); of two that are equally exact, `failOn`. What no word names is permanent,
 * except that a function which is missing or overloaded is tried again: it never saw the message. So is what bears
 * `X-OpenFaaS-Internal`: a watchdog or a gateway on the way made that answer, and whichever status it chose says nothing
 * of the function. A loop and a refusal by the platform are permanent whatever the policy says, because nothing would
 * change.
 *
 * A cancelled attempt is for the caller to recognise, who knows why it was cancelled; here it ends as permanent,
 * since that loses nothing.
 */
export function retryDecision(
  policy: RetryPolicy,
  outcome: Outcome,
  attempt: number,
  random: () => number = Math.random,
  clock: Pick<Clock, 'now'> = systemClock,
): RetryDecision {
  if (succeeded(outcome)) return { kind: 'done' };
  const { failure } = outcome;
  if (failure === 'loop') return { kind: 'dead', reason: 'loop' };
  if (outcome.error?.code === 'message.expired') return { kind: 'dead', reason: 'expired' };
  if (failure === 'refused' || failure === 'cancelled') return { kind: 'dead', reason: 'permanent' };
  if (!mayRetry(policy, outcome)) return { kind: 'dead', reason: reasonOf(failure, 'permanent') };
  if (attempt >= policy.attempts) return { kind: 'dead', reason: reasonOf(failure, 'max_attempts') };
  const delayMs = Math.max(backoffMs(policy.backoff, attempt, random), retryAfterMs(policy, outcome, clock.now()));
  return { kind: 'retry', delayMs };
}

/** The delay before the attempt that follows number `attempt` (from 1); between 0 and `maxMs`. */
export function backoffMs(
  backoff: RetryPolicy['backoff'],
  attempt: number,
  random: () => number = Math.random,
): number {
  const ceiling = ceilingMs(backoff, attempt);
  return Math.round(backoff.jitter === 'full' ? ceiling * random() : ceiling);
}

/** ms until the time that a `Retry-After` names: whole seconds or an HTTP date; undefined for anything else. */
export function parseRetryAfter(text: string, nowMs: number): number | undefined {
  const trimmed = text.trim();
  if (/^\d+$/.test(trimmed)) return Number(trimmed) * 1000;
  // Date.parse takes "5 apples 7" for a date; every HTTP date begins with a day of the week and names a time.
  if (!/^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*\d\d:\d\d:\d\d/.test(trimmed)) return undefined;
  // The asctime form has no zone, and is meant as UTC like the others.
  const at = Date.parse(trimmed.endsWith('GMT') ? trimmed : `${trimmed} GMT`);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}

function mayRetry(policy: RetryPolicy, { failure, headers, status }: Outcome): boolean {
  if (failure !== undefined) {
    if (policy.failOn.includes(failure)) return false;
    if (policy.retryOn.includes(failure)) return true;
    // The platform made the 404 or 429: the words for statuses are about answers of the function.
    if (failure === 'missing' || failure === 'overload') return true;
  }
  const word = String(status);
  if (policy.failOn.includes(word)) return false;
  if (policy.retryOn.includes(word) || headers['x-openfaas-internal'] !== undefined) return true;
  const statusClass = `${word[0]}xx`;
  return !policy.failOn.includes(statusClass) && policy.retryOn.includes(statusClass);
}

function reasonOf(failure: FailureClass | undefined, otherwise: DeadReason): DeadReason {
  if (failure === 'missing') return 'unroutable';
  if (failure === 'crash') return 'crashed';
  return otherwise;
}

function ceilingMs({ kind, initialMs, factor, maxMs }: RetryPolicy['backoff'], attempt: number): number {
  if (initialMs <= 0) return 0; // 0 × a factor that has overflowed would be NaN.
  const steps = Math.max(0, attempt - 1);
  if (kind === 'exponential') return Math.min(maxMs, initialMs * factor ** steps);
  return Math.min(maxMs, kind === 'linear' ? initialMs * (1 + steps) : initialMs);
}

/** How long the answer asks to wait at least, as far as the policy lets it; 0 when it does not ask. */
function retryAfterMs(policy: RetryPolicy, outcome: Outcome, nowMs: number): number {
  if (!policy.retryAfter.honour) return 0;
  const asked =
    outcome.retryAfterSeconds === undefined
      ? headerMs(outcome.status, outcome.headers, nowMs)
      : outcome.retryAfterSeconds * 1000;
  return Math.min(asked, policy.retryAfter.maxMs);
}

function headerMs(status: number, headers: Headers, nowMs: number): number {
  if (status !== 429 && status !== 503) return 0;
  const value = headers['retry-after'];
  const text = typeof value === 'string' ? value : value?.[0];
  return (text === undefined ? undefined : parseRetryAfter(text, nowMs)) ?? 0;
}
