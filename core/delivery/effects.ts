import type { Clock } from '../contracts/clock.ts';
import type { Delivery } from '../contracts/delivery.ts';
import type { Invocation, Outcome, ReplyTarget } from '../contracts/invocation.ts';
import type { FunctionPolicy } from '../contracts/policy.ts';
import type { AttemptError, NewMessage } from '../contracts/queue.ts';
import { bytesOf } from '../kit/body.ts';
import { systemNamespace } from '../contracts/provider.ts';
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
  if (!invocation) return none;
  const followers = policy ? (succeeded(outcome) ? policy.onSuccess : policy.onFailure) : [];
  if (invocation.callbackUrl === undefined && invocation.replyTo === undefined && followers.length === 0) return none;
  const nowMs = clock.now();
  const effects = followers.map((lane) => follower(invocation, outcome, lane, nowMs));
  if (invocation.callbackUrl !== undefined) {
    const headers = callbackHeaders(invocation, outcome, attempts);
    const target = functionOf(invocation.callbackUrl);
    const { lane, path, query } = target ?? { lane: callbackFunction, path: invocation.callbackUrl, query: '' };
    effects.push({
      ...common(invocation, outcome, lane, nowMs),
      envelope: {
        callId: invocation.callId,
        method: 'POST',
        path,
        query,
        headers,
        source: invocation.function,
        depth: invocation.depth + 1,
        acceptedAt: nowMs,
      },
    });
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
  return {
    ...common(invocation, outcome, replyFunction, nowMs),
    orderKey: target.key === undefined ? undefined : `${target.connection}/${target.to}/${target.key}`,
    envelope: {
      callId: invocation.callId,
      method: 'POST',
      path: pathOf(target),
      query: '',
      headers,
      source: invocation.function,
      depth: invocation.depth + 1,
      acceptedAt: nowMs,
    },
  };
}

function follower(invocation: Invocation, outcome: Outcome, lane: string, nowMs: number): NewMessage {
  const contentType = outcome.headers['content-type'];
  return {
    ...common(invocation, outcome, lane, nowMs),
    envelope: {
      callId: invocation.callId,
      method: 'POST',
      path: '',
      query: '',
      headers: {
        ...(contentType !== undefined && { 'content-type': contentType }),
        'x-call-id': invocation.callId,
        'x-function-name': invocation.function,
        'x-function-status': String(outcome.status),
        'x-invocation-id': invocation.id,
      },
      source: invocation.function,
      depth: invocation.depth + 1,
      acceptedAt: nowMs,
    },
  };
}

function common(invocation: Invocation, outcome: Outcome, lane: string, nowMs: number): Omit<NewMessage, 'envelope'> {
  return {
    id: createId(nowMs),
    lane,
    body: bytesOf(outcome.body),
    priority: invocation.priority,
    maxAttempts: 5,
    // A crash between the settlement and its bookkeeping may settle again: the follow-up must not come twice.
    dedupKey: `effect:${invocation.id}`,
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
