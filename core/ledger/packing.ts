import { MillraceError } from '../contracts/errors.ts';
import type { Headers } from '../contracts/invocation.ts';
import type { Envelope, NewMessage, StoredResult } from '../contracts/queue.ts';
import type { NewRecord, Ref } from './records.ts';
import { bufferOf } from '../kit/body.ts';

/** Bytes that are read are those of the id, or none: a broker that lost its end gives its positions to others. */
interface Head {
  readonly id: string;
  readonly envelope: Envelope;
}
type MessageHead = Head & Omit<NewMessage, 'id' | 'lane' | 'body' | 'envelope' | 'history'>;
type ResultHead = Head & { readonly status: number; readonly headers: Headers };

/** A message as it is kept in the journal of bodies. */
export function packMessage({ lane: _lane, history: _history, body, ...head }: NewMessage): Uint8Array {
  return pack(head satisfies MessageHead, body);
}

/** What the state keeps of it. */
export function recordOf({ id, lane, body, envelope, ...rest }: NewMessage, ref: Ref): NewRecord {
  return {
    id,
    lane,
    callId: envelope.callId,
    ref,
    bytes: body.byteLength,
    priority: whole('priority', rest.priority),
    maxAttempts: whole('maxAttempts', rest.maxAttempts),
    resultTtlMs: whole('resultTtlMs', rest.resultTtlMs),
    orderKey: rest.orderKey,
    dedupKey: rest.dedupKey,
    dedupWindowMs: rest.dedupWindowMs === undefined ? undefined : whole('dedupWindowMs', rest.dedupWindowMs),
    delayMs: rest.delayMs === undefined ? undefined : whole('delayMs', rest.delayMs),
    maxAgeMs: rest.maxAgeMs === undefined ? undefined : whole('maxAgeMs', rest.maxAgeMs),
    replayOf: envelope.replayOf,
    history: rest.history && { ...rest.history, attempt: whole('attempt', rest.history.attempt) },
  };
}

/** Undefined: those are other bytes. */
export function unpackMessage({ id, lane }: Pick<NewRecord, 'id' | 'lane'>, bytes: Uint8Array): NewMessage | undefined {
  const found = unpack(id, bytes);
  return found && { lane, ...(found.head as MessageHead), body: found.body };
}

export function packResult(id: string, envelope: Envelope, { status, headers, body }: StoredResult): Uint8Array {
  const head: ResultHead = { id, envelope, status, headers };
  return pack(head, body);
}

/** The state holds as much of a result at most, characters; and for it the message has to be kept, up to this size. */
const small = { text: 256, message: 4096 } as const;

/** The result as the state keeps it, which saves an append; undefined when it is too large for that. */
export function packSmallResult({ status, headers, body }: StoredResult, messageBytes: number): string | undefined {
  if (messageBytes > small.message || body.byteLength > small.text) return undefined;
  const text = JSON.stringify([status, headers, Buffer.from(body).toString('base64')]);
  return text.length > small.text ? undefined : text;
}

export function unpackSmallResult(text: string): StoredResult {
  const [status, headers, body] = JSON.parse(text) as [number, Headers, string];
  return { status, headers, body: new Uint8Array(Buffer.from(body, 'base64')) };
}

/** Undefined: those are other bytes. */
export function unpackResult(
  id: string,
  bytes: Uint8Array,
): { readonly envelope: Envelope; readonly result: StoredResult } | undefined {
  const found = unpack(id, bytes);
  if (!found) return undefined;
  const { envelope, status, headers } = found.head as ResultHead;
  return { envelope, result: { status, headers, body: found.body } };
}

/** Of a message or of a result. Undefined: those are other bytes. */
export function unpackEnvelope(id: string, bytes: Uint8Array): Envelope | undefined {
  return unpack(id, bytes)?.head.envelope;
}

/** A number is rounded up: nothing may come too early for it. JSON would make null of what is none. */
export function whole(name: string, value: number): number {
  const rounded = Math.ceil(value);
  if (Math.abs(rounded) <= 2 ** 50) return rounded;
  throw new MillraceError('request.invalid', `${name} of a message is not a number that can be kept: ${value}`);
}

function pack(head: Head, body: Uint8Array): Uint8Array {
  const text = Buffer.from(JSON.stringify(head));
  const packed = Buffer.allocUnsafe(4 + text.byteLength + body.byteLength);
  packed.writeUInt32BE(text.byteLength);
  packed.set(text, 4);
  packed.set(body, 4 + text.byteLength);
  return packed;
}

/** The body is a copy: a holder that changes it must not change the next attempt's. */
function unpack(id: string, bytes: Uint8Array): { readonly head: Head; readonly body: Uint8Array } | undefined {
  const buffer = bufferOf(bytes);
  const end = buffer.byteLength < 4 ? Infinity : 4 + buffer.readUInt32BE();
  if (end > buffer.byteLength) return undefined;
  try {
    const head = JSON.parse(buffer.toString('utf8', 4, end)) as Head;
    return head.id === id ? { head, body: new Uint8Array(buffer.subarray(end)) } : undefined;
  } catch {
    return undefined; // It begins somewhere within other bytes.
  }
}
