import type { DeadReason } from '../contracts/invocation.ts';
import type { AttemptError } from '../contracts/queue.ts';
import type { End, Finished, Item, NewRecord, Ref, WaitState } from './records.ts';

/**
 * Records as they are in a snapshot, which may hold a million of them: without the names of their fields, which would be
 * most of it. Undefined is null there.
 */
export type PackedItem = readonly unknown[];
export type PackedFinished = readonly unknown[];

export function packItem(item: Item): PackedItem {
  const { record, ref, sequence, rank, acceptedAt, state, due, readySince, expiresAt } = item;
  const { attempt, epoch, leasedUntil, holder, startedAt, cancelRequested, errors } = item;
  return [
    ...[record.id, record.lane, record.callId, record.ref, record.bytes, record.priority, record.maxAttempts],
    ...[record.resultTtlMs, record.orderKey, record.dedupKey, record.dedupWindowMs, record.delayMs, record.maxAgeMs],
    ...[record.replayOf, ref, sequence, rank, acceptedAt, state, due, readySince, expiresAt],
    ...[attempt, epoch, leasedUntil, holder, startedAt, cancelRequested, errors],
  ];
}

export function unpackItem(packed: PackedItem): Item {
  const next = reader(packed);
  const record: NewRecord = {
    id: next<string>(),
    lane: next<string>(),
    callId: next<string>(),
    ref: next<Ref>(),
    bytes: next<number>(),
    priority: next<number>(),
    maxAttempts: next<number>(),
    resultTtlMs: next<number>(),
    orderKey: next<string | undefined>(),
    dedupKey: next<string | undefined>(),
    dedupWindowMs: next<number | undefined>(),
    delayMs: next<number | undefined>(),
    maxAgeMs: next<number | undefined>(),
    replayOf: next<string | undefined>(),
  };
  return {
    record,
    ref: next<Ref>(),
    sequence: next<number>(),
    rank: next<number>(),
    acceptedAt: next<number>(),
    state: next<WaitState>(),
    due: next<number>(),
    readySince: next<number>(),
    expiresAt: next<number | undefined>(),
    attempt: next<number>(),
    epoch: next<number>(),
    leasedUntil: next<number>(),
    holder: next<string | undefined>(),
    startedAt: next<number | undefined>(),
    cancelRequested: next<boolean>(),
    errors: next<AttemptError[]>(),
  };
}

export function packFinished(finished: Finished): PackedFinished {
  const { id, lane, callId, sequence, state, attempt, acceptedAt, startedAt, finishedAt } = finished;
  const { errors, reason, replayOf, ref, hasResult, goneAt } = finished;
  return [
    ...[id, lane, callId, sequence, state, attempt, acceptedAt, startedAt, finishedAt],
    ...[errors, reason, replayOf, ref, hasResult, goneAt],
  ];
}

export function unpackFinished(packed: PackedFinished): Finished {
  const next = reader(packed);
  return {
    id: next<string>(),
    lane: next<string>(),
    callId: next<string>(),
    sequence: next<number>(),
    state: next<End>(),
    attempt: next<number>(),
    acceptedAt: next<number>(),
    startedAt: next<number | undefined>(),
    finishedAt: next<number>(),
    errors: next<AttemptError[]>(),
    reason: next<DeadReason | undefined>(),
    replayOf: next<string | undefined>(),
    ref: next<Ref | undefined>(),
    hasResult: next<boolean>(),
    goneAt: next<number>(),
  };
}

/** One field after another, in the order in which they were packed. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what was packed is what it says.
function reader(packed: readonly unknown[]): <Field>() => Field {
  let at = 0;
  return <Field>() => (packed[at++] ?? undefined) as Field;
}
