import type { Disposition, Envelope, Lease, NewMessage, StoredResult } from '../../../core/contracts/queue.ts';
import type { WireDisposition, WireLease, WireMessage, WireResult } from './protocol.ts';

export function toWire(message: NewMessage): WireMessage {
  const { orderKey, dedupKey, dedupWindowMs, delayMs, maxAgeMs } = message;
  return {
    id: message.id,
    lane: message.lane,
    envelope: JSON.stringify(message.envelope),
    body: exact(message.body),
    priority: message.priority,
    maxAttempts: message.maxAttempts,
    orderKey: orderKey ?? null,
    dedupKey: dedupKey ?? null,
    dedupWindowMs: dedupWindowMs ?? 0,
    delayMs: delayMs ?? 0,
    maxAgeMs: maxAgeMs ?? null,
    resultTtlMs: message.resultTtlMs,
  };
}

export function fromWire({ receipt, message, attempt }: WireLease): Lease {
  const { orderKey, maxAgeMs } = message;
  return {
    receipt,
    attempt,
    message: {
      id: message.id,
      lane: message.lane,
      envelope: JSON.parse(message.envelope) as Envelope,
      body: message.body,
      priority: message.priority,
      maxAttempts: message.maxAttempts,
      ...(orderKey !== null && { orderKey }),
      ...(maxAgeMs !== null && { maxAgeMs }),
      resultTtlMs: message.resultTtlMs,
    },
  };
}

export function toWireDisposition(disposition: Disposition): WireDisposition {
  switch (disposition.kind) {
    case 'ack':
      return { kind: 'ack', result: resultOf(disposition.result), effects: (disposition.effects ?? []).map(toWire) };
    case 'dead':
      return { ...disposition, result: resultOf(disposition.result), effects: (disposition.effects ?? []).map(toWire) };
    case 'retry':
      return { ...disposition, counted: disposition.counted ?? true };
    case 'cancelled':
      return disposition;
  }
}

function resultOf(result: StoredResult | undefined): WireResult | undefined {
  return result && { status: result.status, headers: JSON.stringify(result.headers), body: exact(result.body) };
}

/** Posting a view copies the whole buffer behind it, and small Buffers share one of 64 KiB. */
function exact(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}
