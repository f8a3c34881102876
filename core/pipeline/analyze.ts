import type { Delivery, DeliveryOptions } from '../contracts/delivery.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Headers, Invocation, Mode } from '../contracts/invocation.ts';
import { createId } from '../delivery/ids.ts';
import { parseDuration } from '../config/units.ts';
import { firstOf, invalidHeader, preferOf } from '../kit/headers.ts';
import { functionNamePattern, longestFunctionName } from '../kit/names.ts';
import { isCall } from './admit.ts';
import { refuse, type PipelineServices, type Stage } from './stage.ts';

/** A priority when neither the caller nor the function's policy names one. */
const standardPriority = 5;

/**
 * Names what is wanted: function, mode, ids, deadline, priority, keys. Reads headers only, never the body. What a
 * queue hands out was analyzed when it was accepted; only its attempt is new.
 */
export function analyze(services: PipelineServices): Stage {
  const { catalog, clock, limits, tracing } = services;
  let lastMs = -1;
  let lastStart = '';
  return (delivery) => {
    try {
      delivery.invocation = delivery.request.lease ? fromLease(delivery) : fromRequest(delivery);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      refuse(delivery, error.code === 'function.missing' ? 'missing' : 'refused', error);
      return;
    }
    tracing?.begin(delivery);
    if (delivery.invocation.depth > limits.depth) {
      const message = `this invocation is number ${delivery.invocation.depth} of a chain; the limit is ${limits.depth}`;
      refuse(delivery, 'loop', { code: 'invocation.loop', message });
    }
  };

  function fromRequest(delivery: Delivery): Invocation {
    const { request } = delivery;
    const { headers } = request;
    const entry = catalog.get(request.function);
    const name = entry?.name ?? qualified(request.function);
    const policy = entry?.policy;
    const asked = modeOf(headers); // Also where the source decides: a header that makes no sense is told.
    const mode = request.mode ?? asked;
    // A caller's word could end the chains of others early. What comes back over a broker was given its depth by us.
    if (headers['x-call-depth'] !== undefined && isCall(delivery)) delete headers['x-call-depth'];
    const now = request.takenAt ?? clock.now();
    const id = createId(now);
    const callId = firstOf(headers['x-call-id']) ?? id;
    // OpenFaaS functions expect both; its start time is in nanoseconds.
    headers['x-call-id'] = callId;
    headers['x-start-time'] = startTime(now);
    const options = mode === 'async' ? optionsOf(headers, request.options) : undefined;
    delivery.options = options;
    const policyTimeout = policy?.timeoutMs ?? 30_000;
    return {
      id,
      callId,
      function: name,
      mode,
      method: request.method,
      path: request.path,
      query: request.query,
      headers,
      body: request.body,
      source: delivery.source,
      acceptedAt: now,
      attempt: request.attempt ?? 1,
      timeoutMs: Math.min(durationHeader('x-timeout', headers['x-timeout']) ?? policyTimeout, policyTimeout),
      priority: request.options?.priority ?? priorityOf(headers) ?? policy?.priority ?? standardPriority,
      orderKey: (options ?? request.options)?.orderKey,
      depth: depthOf(headers),
      callbackUrl: mode === 'async' ? firstOf(headers['x-callback-url']) : undefined,
      replyTo: request.replyTo,
      items: request.items,
    };
  }

  /** The full name of a function that is not deployed under this one. */
  function qualified(name: string): string {
    if (functionNamePattern.test(name) && name.length <= longestFunctionName) return catalog.qualify(name);
    const expected = 'a function is named NAME or NAME.NAMESPACE: letters, digits, "-", "_", "."';
    throw new MillraceError('function.missing', expected);
  }

  /** Nanoseconds, as text; many calls share one millisecond. */
  function startTime(now: number): string {
    if (now !== lastMs) {
      lastMs = now;
      lastStart = `${now}000000`;
    }
    return lastStart;
  }

  function fromLease({ request }: Delivery): Invocation {
    const { message, attempt } = request.lease ?? unreachable();
    const { envelope } = message;
    return {
      id: message.id,
      callId: envelope.callId,
      function: message.lane,
      mode: 'async',
      method: envelope.method,
      path: envelope.path,
      query: envelope.query,
      headers: envelope.headers,
      body: message.body,
      source: envelope.source,
      acceptedAt: envelope.acceptedAt,
      attempt,
      timeoutMs: envelope.timeoutMs ?? catalog.get(message.lane)?.policy.timeoutMs ?? 30_000,
      priority: message.priority,
      orderKey: message.orderKey,
      depth: envelope.depth,
      callbackUrl: envelope.callbackUrl,
      replyTo: envelope.replyTo,
      items: envelope.items,
    };
  }
}

/** The mode that headers ask for: `X-Invoke-Mode: async`, or `Prefer: respond-async` (RFC 7240). */
function modeOf(headers: Headers): Mode {
  const prefer = preferOf(headers);
  const mode = firstOf(headers['x-invoke-mode']);
  if (mode !== undefined) {
    if (mode !== 'async' && mode !== 'sync') throw invalidHeader('X-Invoke-Mode', '"sync" or "async"', mode);
    return mode;
  }
  return prefer ? 'async' : 'sync';
}

/** What headers ask for, as far as the source leaves it open. */
function optionsOf(headers: Headers, fixed: DeliveryOptions = {}): DeliveryOptions {
  // Read in any case: a header that makes no sense is told.
  const orderKey = keyHeader('x-order-key', headers['x-order-key']);
  const idempotencyKey = keyHeader('idempotency-key', headers['idempotency-key']);
  const asked = idempotencyKey === undefined ? undefined : `idempotency:${idempotencyKey}`;
  const delayMs = durationHeader('x-delay', headers['x-delay']);
  const maxAgeMs = durationHeader('x-max-age', headers['x-max-age']);
  return {
    priority: fixed.priority,
    orderKey: fixed.orderKey ?? orderKey,
    dedupKey: fixed.dedupKey ?? asked,
    dedupWindowMs: fixed.dedupWindowMs,
    delayMs: fixed.delayMs ?? delayMs,
    maxAgeMs: fixed.maxAgeMs ?? maxAgeMs,
  };
}

function priorityOf(headers: Headers): number | undefined {
  const text = firstOf(headers['x-priority']);
  if (text === undefined) return undefined;
  if (!/^[0-9]$/.test(text)) throw invalidHeader('X-Priority', 'a number from 0 (lowest) to 9 (highest)', text);
  return Number(text);
}

function depthOf(headers: Headers): number {
  const text = firstOf(headers['x-call-depth']);
  if (text === undefined) return 0;
  if (!/^\d{1,4}$/.test(text)) throw invalidHeader('X-Call-Depth', 'a number', text);
  return Number(text);
}

function durationHeader(name: string, value: Headers[string] | undefined): number | undefined {
  const text = firstOf(value);
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms === undefined || ms === 0) throw invalidHeader(name, 'a duration such as "250ms", "30s" or "1m30s"', text);
  return ms;
}

function keyHeader(name: string, value: Headers[string] | undefined): string | undefined {
  const text = firstOf(value);
  if (text === undefined) return undefined;
  if (text.length === 0 || text.length > 255)
    throw invalidHeader(name, '1 to 255 characters', `${text.length} characters`);
  return text;
}

function unreachable(): never {
  throw new Error('only leases come here');
}
