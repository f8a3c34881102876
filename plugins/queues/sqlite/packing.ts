import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Headers } from '../../../core/contracts/invocation.ts';
import type {
  DeadLetter,
  Disposition,
  Envelope,
  Lease,
  MessageRecord,
  NewMessage,
  Receipt,
  StoredResult,
} from '../../../core/contracts/queue.ts';
import type { PackedLease, PackedLetter, PackedMessage, PackedRecord, PackedResult, Settle, Span } from './protocol.ts';

type Pack = (body: Uint8Array) => Span;

export function packMessage(message: NewMessage, pack: Pack): PackedMessage {
  const { id, lane, body, history } = message;
  // Copied whole and written without these: to leave keys out of a copy costs half as much as all of the JSON.
  const rest = { ...message, id: undefined, lane: undefined, body: undefined, history: undefined };
  return [
    id,
    lane,
    JSON.stringify(rest),
    whole('priority', message.priority),
    whole('maxAttempts', message.maxAttempts),
    message.orderKey === undefined ? null : keyText(message.orderKey),
    message.dedupKey === undefined ? null : keyText(message.dedupKey),
    whole('dedupWindowMs', message.dedupWindowMs ?? 0),
    whole('delayMs', message.delayMs ?? 0),
    message.maxAgeMs === undefined ? null : whole('maxAgeMs', message.maxAgeMs),
    whole('resultTtlMs', message.resultTtlMs),
    pack(body),
    history && { ...history, attempt: whole('attempt', history.attempt) },
  ];
}

export function packSettle({ id, lane, epoch }: Receipt, disposition: Disposition, pack: Pack): Settle {
  const settle = { kind: 'settle', id, lane, epoch } as const;
  switch (disposition.kind) {
    case 'ack':
      return { ...settle, as: 'ack', ...packEnd(disposition, pack) };
    case 'dead':
      return {
        ...settle,
        as: 'dead',
        reason: disposition.reason,
        error: disposition.error,
        ...packEnd(disposition, pack),
      };
    case 'retry': {
      const { delayMs, error, counted = true } = disposition;
      return { ...settle, as: 'retry', delayMs, counted, ...(error && { error }) };
    }
    case 'cancelled':
      return { ...settle, as: 'cancelled' };
    default:
      throw new Error('no such disposition');
  }
}

export function unpackLease(lane: string, [id, epoch, attempt, text, body]: PackedLease): Lease {
  const rest = JSON.parse(text) as Omit<NewMessage, 'id' | 'lane' | 'body'>;
  return { receipt: { id, lane, epoch }, message: { id, lane, body, ...rest }, attempt };
}

export function unpackRecord({ text, result, ...record }: PackedRecord): MessageRecord {
  return {
    ...record,
    envelope: envelopeOf(text),
    result: typeof result === 'object' ? { ...result, headers: JSON.parse(result.headers) as Headers } : result,
  };
}

export function unpackLetter({ text, ...letter }: PackedLetter): DeadLetter {
  return { ...letter, envelope: envelopeOf(text) };
}

function packEnd(
  { result, effects }: Extract<Disposition, { kind: 'ack' | 'dead' }>,
  pack: Pack,
): { result?: PackedResult; effects?: PackedMessage[] } {
  return {
    ...(result && { result: packResult(result, pack) }),
    ...(effects && effects.length > 0 && { effects: effects.map((effect) => packMessage(effect, pack)) }),
  };
}

function packResult({ status, headers, body }: StoredResult, pack: Pack): PackedResult {
  return [status, JSON.stringify(headers), pack(body)];
}

function envelopeOf(text: string): Envelope {
  return (JSON.parse(text) as { envelope: Envelope }).envelope;
}

/** One number that SQLite would not take as an integer would fail the whole batch, with what others sent in it. */
function whole(name: string, value: number): number {
  const rounded = Math.ceil(value);
  if (Math.abs(rounded) <= 2 ** 50) return rounded;
  throw new MillraceError('request.invalid', `${name} of a message is not a number that can be kept: ${value}`);
}

/** SQLite keeps UTF-8, and a text only up to its first NUL: what does not fit is escaped, so that keys stay distinct. */
function keyText(key: string): string {
  return key.isWellFormed() && !key.includes('\u0000') ? key : JSON.stringify(key).replaceAll('\u0000', '\\0');
}
