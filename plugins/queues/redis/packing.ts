import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Headers } from '../../../core/contracts/invocation.ts';
import type {
  AttemptError,
  DeadLetter,
  Disposition,
  EnqueueResult,
  LaneStats,
  Lease,
  MessageRecord,
  NewMessage,
  Receipt,
} from '../../../core/contracts/queue.ts';

type Value = string | Buffer;

/** Everything of a message but what the scripts look at. */
export type MessageText = Omit<NewMessage, 'id' | 'lane' | 'body' | 'history'>;

/** What `given` of the scripts reads. The body is copied, since it is sent later. */
export function packMessage(message: NewMessage): Value[] {
  const { id, lane, body, history, ...text } = message;
  return [
    id,
    lane,
    JSON.stringify(text),
    Buffer.from(body),
    whole('priority', message.priority),
    whole('maxAttempts', message.maxAttempts),
    message.orderKey === undefined ? '' : `=${keyText(message.orderKey)}`,
    message.dedupKey === undefined ? '' : `=${keyText(message.dedupKey)}`,
    whole('dedupWindowMs', message.dedupWindowMs ?? 0),
    whole('delayMs', message.delayMs ?? 0),
    message.maxAgeMs === undefined ? '' : whole('maxAgeMs', message.maxAgeMs),
    whole('resultTtlMs', message.resultTtlMs),
    history ? `${whole('attempt', history.attempt)} ${history.dead ?? '-'} ${JSON.stringify(history.error)}` : '',
  ];
}

/** What `settle_at` of the scripts reads. */
export function packSettlement({ id, lane, epoch }: Receipt, disposition: Disposition): Value[] {
  const { kind } = disposition;
  const end = kind === 'ack' || kind === 'dead' ? disposition : undefined;
  const retry = kind === 'retry' ? disposition : undefined;
  const error = kind === 'retry' || kind === 'dead' ? disposition.error : undefined;
  const { result, effects = [] } = end ?? {};
  return [
    id,
    lane,
    String(epoch),
    kind,
    retry ? whole('delayMs', retry.delayMs) : '',
    retry?.counted === false ? '0' : '1',
    kind === 'dead' ? disposition.reason : '',
    error ? JSON.stringify(error) : '',
    result ? String(result.status) : '',
    result ? JSON.stringify(result.headers) : '',
    result ? Buffer.from(result.body) : '',
    String(effects.length),
    ...effects.flatMap(packMessage),
  ];
}

export function sizeOf(values: readonly Value[]): number {
  return values.reduce((sum, value) => sum + value.length, 0);
}

/** The answer to one message: 0 accepted, 1 full, else the id of the first. */
export function unpackAccepted(answer: number | Buffer, id: string): EnqueueResult {
  if (typeof answer !== 'number') return { status: 'duplicate', id: answer.toString() };
  return { status: answer === 0 ? 'accepted' : 'full', id };
}

export type PackedLease = readonly [id: Buffer, epoch: number, attempt: number, text: Buffer, body: Buffer];

export function unpackLease(lane: string, [idBytes, epoch, attempt, text, body]: PackedLease): Lease {
  const id = idBytes.toString();
  // Its own copy: the bytes that came share their memory with other answers.
  const message: NewMessage = { id, lane, body: new Uint8Array(body), ...(parse(text) as MessageText) };
  return { receipt: { id, lane, epoch }, message, attempt };
}

/** What `describe` of the scripts tells. */
interface Description {
  readonly id: string;
  readonly lane: string;
  /** As the scripts call it. */
  readonly state: 'ready' | 'blocked' | 'delayed' | 'leased' | 'succeeded' | 'dead' | 'expired' | 'cancelled';
  readonly attempt: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  readonly dueAt?: number;
  readonly deadReason?: MessageRecord['deadReason'];
  readonly bodyBytes: number;
  readonly expired: boolean;
}

type PackedResult = readonly [status: number, headers: Buffer, body: Buffer];

export type PackedRecord = readonly [
  description: Buffer,
  text: Buffer,
  errors: readonly Buffer[],
  result?: PackedResult | null,
];

export function unpackRecord([description, text, errors, result]: PackedRecord): MessageRecord {
  const { id, lane, state, attempt, startedAt, finishedAt, dueAt, deadReason, expired } = parse(
    description,
  ) as Description;
  return {
    id,
    lane,
    state: stateOf(state, attempt),
    attempt,
    envelope: textOf(text).envelope,
    startedAt,
    finishedAt,
    dueAt,
    errors: errors.map(unpackError),
    deadReason,
    result: expired ? 'expired' : result ? unpackResult(result) : undefined,
  };
}

function stateOf(state: Description['state'], attempt: number): MessageRecord['state'] {
  switch (state) {
    case 'leased':
      return 'running';
    case 'ready':
    case 'blocked':
      return attempt > 0 ? 'failed' : 'queued';
    case 'delayed':
      return attempt > 0 ? 'failed' : 'delayed';
    default:
      return state;
  }
}

export type PackedLetter = readonly [description: Buffer, text: Buffer, errors: readonly Buffer[]];

export function unpackLetter([description, text, errors]: PackedLetter): DeadLetter {
  const { id, lane, attempt, finishedAt = 0, deadReason = 'permanent', bodyBytes } = parse(description) as Description;
  return {
    id,
    lane,
    reason: deadReason,
    attempt,
    envelope: textOf(text).envelope,
    bodyBytes,
    errors: errors.map(unpackError),
    diedAt: finishedAt,
  };
}

type Counts = Record<
  'age' | 'paused' | 'ready' | 'blocked' | 'delayed' | 'leased' | 'letters' | 'bytes' | keyof LaneStats['totals'],
  number
>;

export function unpackLane([name, packed]: readonly [Buffer, Buffer]): LaneStats {
  const { age, paused, ready, blocked, delayed, leased, letters, bytes, ...totals } = parse(packed) as Counts;
  return {
    lane: name.toString(),
    ready,
    blocked,
    delayed,
    leased,
    dead: letters,
    bytes,
    oldestReadyAgeMs: age,
    paused: paused === 1,
    totals,
  };
}

/** The text of a message, as it was packed. */
export function textOf(text: Buffer): MessageText {
  return parse(text) as MessageText;
}

function unpackResult([status, headers, body]: PackedResult): Exclude<MessageRecord['result'], 'expired'> {
  return { status, headers: parse(headers) as Headers, body: new Uint8Array(body) };
}

/** `ATTEMPT TIME {…}` */
function unpackError(packed: Buffer): AttemptError {
  const text = packed.toString();
  const [attempt, at] = text.split(' ', 2);
  const given = JSON.parse(text.slice(text.indexOf('{'))) as Omit<AttemptError, 'attempt' | 'at'>;
  return { ...given, attempt: Number(attempt), at: Number(at) };
}

function parse(text: Buffer): unknown {
  return JSON.parse(text.toString());
}

function whole(name: string, value: number): string {
  const rounded = Math.ceil(value);
  if (Math.abs(rounded) <= 2 ** 50) return String(rounded);
  throw new MillraceError('request.invalid', `${name} of a message is not a number that can be kept: ${value}`);
}

/** What is not well-formed would all become the same character: it is escaped, so that keys stay distinct. */
function keyText(key: string): string {
  return key.isWellFormed() ? key : JSON.stringify(key);
}
