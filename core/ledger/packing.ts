import type { Headers } from '../contracts/invocation.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Envelope, NewMessage, StoredResult } from '../contracts/queue.ts';
import type { NewRecord, Ref } from './records.ts';

type Rest = Omit<NewMessage, 'id' | 'lane' | 'body'>;

/** A message as it is kept in the journal of bodies. */
export function packMessage({ id: _id, lane: _lane, body, ...rest }: NewMessage): Uint8Array {
  return pack(rest satisfies Rest, body);
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
  };
}

/** The body is a copy: a holder that changes it must not change the next attempt's. */
export function unpackMessage({ id, lane }: Pick<NewRecord, 'id' | 'lane'>, bytes: Uint8Array): NewMessage {
  const { head, body } = unpack(bytes);
  return { id, lane, ...(head as Rest), body: body.slice() };
}

export function packResult(envelope: Envelope, { status, headers, body }: StoredResult): Uint8Array {
  return pack({ envelope, status, headers }, body);
}

export function unpackResult(bytes: Uint8Array): StoredResult {
  const { head, body } = unpack(bytes);
  const { status, headers } = head as { readonly status: number; readonly headers: Headers };
  return { status, headers, body: body.slice() };
}

/** Of a message or of a result. */
export function unpackEnvelope(bytes: Uint8Array): Envelope {
  return (unpack(bytes).head as { readonly envelope: Envelope }).envelope;
}

/** A number is rounded up: nothing may come too early for it. JSON would make null of what is none. */
export function whole(name: string, value: number): number {
  const rounded = Math.ceil(value);
  if (Math.abs(rounded) <= 2 ** 50) return rounded;
  throw new MillraceError('request.invalid', `${name} of a message is not a number that can be kept: ${value}`);
}

function pack(head: object, body: Uint8Array): Uint8Array {
  const text = Buffer.from(JSON.stringify(head));
  const packed = Buffer.allocUnsafe(4 + text.byteLength + body.byteLength);
  packed.writeUInt32BE(text.byteLength);
  packed.set(text, 4);
  packed.set(body, 4 + text.byteLength);
  return packed;
}

function unpack(bytes: Uint8Array): { readonly head: unknown; readonly body: Uint8Array } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = 4 + buffer.readUInt32BE();
  return { head: JSON.parse(buffer.toString('utf8', 4, end)) as unknown, body: new Uint8Array(buffer.subarray(end)) };
}
