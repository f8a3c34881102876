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
  StoredResult,
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
  const error = kind === 'retry' || kind === 'dead' ? disposition.error : undefined;
  const { result, effects = [] } = end ?? {};
  return [
    id,
    lane,
    String(epoch),
    kindOf(disposition),
    error ? JSON.stringify(error) : '',
    result ? packResult(result) : '',
    String(effects.length),
    ...effects.flatMap(packMessage),
  ];
}

/** Its body is copied, since it is sent later. */
function packResult({ status, headers, body }: StoredResult): Buffer {
  return Buffer.concat([Buffer.from(`${status} ${JSON.stringify(headers)}\n`), body]);
}

function kindOf(disposition: Disposition): string {
  switch (disposition.kind) {
    case 'retry':
      return `retry ${whole('delayMs', disposition.delayMs)} ${disposition.counted === false ? 0 : 1}`;
    case 'dead':
      return `dead ${disposition.reason}`;
    default:
      return disposition.kind;
  }
}

export function sizeOf(values: readonly Value[]): number {
  return values.reduce((sum, value) => sum + value.length, 0);
}

/** The answer to one message: 0 accepted, 1 full, else the id of the first. */
export function unpackAccepted(answer: number | Buffer, id: string): EnqueueResult {
  if (typeof answer !== 'number') return { status: 'duplicate', id: answer.toString() };
  return { status: answer === 0 ? 'accepted' : 'full', id };
}

/** The epoch, and of each message its id, and itself as it is kept, with its body at the end. */
export type PackedLeases = readonly [epoch: number, ...values: Buffer[]];

export function unpackLeases(lane: string, [epoch, ...values]: PackedLeases): Lease[] {
  const leases: Lease[] = [];
  for (let at = 0; at < values.length; at += 2) {
    const [id, packed] = values.slice(at, at + 2) as [Buffer, Buffer];
    leases.push(unpackLease({ id: id.toString(), lane, epoch }, packed));
  }
  return leases;
}

/** Bytes of what lasts of a message before the name of its lane, and of what changes (`lua-packing.ts`). */
const bytesBeforeLane = 60;
const bytesOfChanging = 34;

function unpackLease(receipt: Receipt, packed: Buffer): Lease {
  const keyAt = bytesBeforeLane + 4 + packed.readUInt32BE(bytesBeforeLane);
  const textAt = keyAt + 4 + packed.readUInt32BE(keyAt);
  const changingAt = packed.readUInt32BE() - 1;
  const { id, lane } = receipt;
  const text = JSON.parse(packed.toString('utf8', textAt, changingAt)) as MessageText;
  // Its own copy: the bytes that came share their memory with other answers.
  const body = new Uint8Array(packed.subarray(changingAt + bytesOfChanging));
  return { receipt, message: { id, lane, body, ...text }, attempt: packed.readDoubleBE(changingAt + 2) + 1 };
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

export type PackedRecord = readonly [
  description: Buffer,
  text: Buffer,
  errors: readonly Buffer[],
  result?: Buffer | null,
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

/** `STATUS {…}`, and the body on the next line. */
function unpackResult(packed: Buffer): Exclude<MessageRecord['result'], 'expired'> {
  const end = packed.indexOf('\n');
  const head = packed.toString('utf8', 0, end);
  const space = head.indexOf(' ');
  return {
    status: Number(head.slice(0, space)),
    headers: JSON.parse(head.slice(space)) as Headers,
    body: new Uint8Array(packed.subarray(end + 1)),
  };
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
