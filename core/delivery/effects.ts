import type { Clock } from '../contracts/clock.ts';
import type { Delivery } from '../contracts/delivery.ts';
import type { Headers, Invocation, Outcome, ReplyTarget } from '../contracts/invocation.ts';
import type { FunctionPolicy } from '../contracts/policy.ts';
import type { AttemptError, NewMessage } from '../contracts/queue.ts';
import { bytesOf } from '../kit/body.ts';
import { systemNamespace } from '../contracts/provider.ts';
import { traceContextOf } from '../kit/headers.ts';
import { isoTime } from '../kit/time.ts';
import { pathOf, replyFunction } from './reply.ts';
import { type CallbackFunction, callbackHeaders } from './callback.ts';
import { createId } from './ids.ts';
import { succeeded } from './retry.ts';

/** The function of Millrace's own that sends callbacks. Its lane holds them, so they are retried like anything else. */
export const callbackFunction = `callback.${systemNamespace}`;

const none: readonly NewMessage[] = [];
const dayMs = 86_400_000;

/**
 * What follows from the end of a queued invocation: its callback, and new invocations of the functions that its policy
 * names. `attempts`: how many it was allowed; `functionOf`: the function that a callback URL means, if it means one here.
 * They become durable in the same step as the settlement, so that neither is there without the other.
 */
export function effectsOf(
  delivery: Delivery,
  outcome: Outcome,
  policy: FunctionPolicy | undefined,
  attempts: number,
  clock: Clock,
  functionOf: (callbackUrl: string) => CallbackFunction | undefined,
): readonly NewMessage[] {
  const { invocation } = delivery;
  // The end of a chain that is too deep is its end: what followed would only be refused as well.
  if (!invocation || outcome.failure === 'loop') return none;
  const followers = policy ? (succeeded(outcome) ? policy.onSuccess : policy.onFailure) : [];
  if (invocation.callbackUrl === undefined && invocation.replyTo === undefined && followers.length === 0) return none;
  const nowMs = clock.now();
  const effects = followers.map((lane) => follower(invocation, outcome, lane, nowMs));
  if (invocation.callbackUrl !== undefined) {
    const headers = callbackHeaders(invocation, outcome, attempts);
    const target = functionOf(invocation.callbackUrl);
    const { lane, path, query } = target ?? { lane: callbackFunction, path: invocation.callbackUrl, query: '' };
    effects.push(effect('callback', invocation, outcome, nowMs, { lane, path, query }, headers));
  }
  const { replyTo } = invocation;
  if (replyTo && (succeeded(outcome) || !replyTo.onlySuccess)) {
    effects.push(replyEffect(invocation, outcome, replyTo, attempts, nowMs));
  }
  return effects;
}

/** The outcome as a CloudEvent, with the words of a callback. */
function replyEffect(
  invocation: Invocation,
  outcome: Outcome,
  target: ReplyTarget,
  attempts: number,
  nowMs: number,
): NewMessage {
  const event = {
    'ce-specversion': '1.0',
    'ce-id': invocation.id,
    'ce-source': `/functions/${invocation.function}`,
    'ce-type': `millrace.function.${succeeded(outcome) ? 'succeeded' : 'failed'}`,
    'ce-time': isoTime(nowMs),
  };
  // What the function says of its own event stands.
  const headers = { ...event, ...callbackHeaders(invocation, outcome, attempts) };
  const orderKey = target.key === undefined ? undefined : `${target.connection}/${target.to}/${target.key}`;
  const to = { lane: replyFunction, path: pathOf(target), query: '' };
  return { ...effect('reply', invocation, outcome, nowMs, to, headers), orderKey };
}

function follower(invocation: Invocation, outcome: Outcome, lane: string, nowMs: number): NewMessage {
  const contentType = outcome.headers['content-type'];
  const headers = {
    ...(contentType !== undefined && { 'content-type': contentType }),
    ...traceContextOf(invocation.headers),
    'x-call-id': invocation.callId,
    'x-function-name': invocation.function,
    'x-function-status': String(outcome.status),
    'x-invocation-id': invocation.id,
  };
  return effect('follower', invocation, outcome, nowMs, { lane, path: '', query: '' }, headers);
}

/** A new invocation of a function, with the answer as its body. */
function effect(
  kind: 'callback' | 'follower' | 'reply',
  { id, callId, function: source, priority, depth }: Invocation,
  outcome: Outcome,
  nowMs: number,
  { lane, path, query }: CallbackFunction,
  headers: Headers,
): NewMessage {
  return {
    id: createId(nowMs),
    lane,
    envelope: { callId, method: 'POST', path, query, headers, source, depth: depth + 1, acceptedAt: nowMs },
    body: bytesOf(outcome.body),
    priority,
    maxAttempts: 5,
    // A crash between the settlement and its bookkeeping may settle again: none of them must come twice. A callback may
    // go to the same function as a follower.
    dedupKey: `${kind}:${id}`,
    dedupWindowMs: dayMs,
    resultTtlMs: dayMs,
  };
}

/** What is kept of a failed attempt. */
export function attemptErrorOf({ error, status, body }: Outcome): Omit<AttemptError, 'attempt' | 'at'> {
  if (error) return { ...error, status };
  const text = Buffer.from(bytesOf(body).subarray(0, 1000)).toString();
  return { code: `http.${status}`, message: text || `the function answered ${status}`, status };
}
