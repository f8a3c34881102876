import { randomFillSync } from 'node:crypto';
import type { parseTraceParent, TraceState } from '@opentelemetry/core';
import type { Headers } from '../../contracts/invocation.ts';
import { headerOf } from '../../kit/headers.ts';
import type { SpanContext } from './span.ts';

/** How W3C's headers are read: by the libraries of the standard. */
export interface ContextParsers {
  readonly parseTraceParent: typeof parseTraceParent;
  readonly TraceState: typeof TraceState;
}

/** What the headers say, else the extension of CloudEvents, which says it of the event's producer. */
export function contextOf(headers: Headers, parsers: ContextParsers): SpanContext | undefined {
  const traceparent = headerOf(headers, 'traceparent') ?? headerOf(headers, 'ce-traceparent');
  const parsed = traceparent === undefined ? null : parsers.parseTraceParent(traceparent);
  if (!parsed) return undefined;
  const { traceId, spanId, traceFlags } = parsed;
  const state = headers['tracestate'] ?? headers['ce-tracestate'];
  return {
    traceId,
    spanId,
    isSampled: (traceFlags & 1) === 1,
    state: state && new parsers.TraceState(String(state)).serialize(),
  };
}

export function traceparentOf({ traceId, spanId, isSampled }: SpanContext): string {
  return `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`;
}

/** Large, since to ask for randomness costs more than the randomness. */
const pool = Buffer.alloc(24 * 1024);
let used = pool.length;
/** Digits of some ids, since to ask for digits costs more too; few, since whatever keeps an id keeps all of them. */
let digits = '';
const digitsOfIds = 48;
let given = 0;

/** 48 hex digits: a trace's id and a span's. */
export function randomIds(): string {
  if (given === digits.length) {
    if (used === pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    digits = pool.toString('hex', used, (used += 16 * 24));
    given = 0;
  }
  return digits.slice(given, (given += digitsOfIds));
}
