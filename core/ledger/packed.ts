import type { Finished, Item, NewRecord } from './records.ts';

/**
 * Records as they are in a snapshot, which may hold a million of them: without the names of their fields, which would be
 * most of it. Undefined is null there, as JSON has it.
 */
export type PackedItem = ReturnType<typeof packItem>;
export type PackedFinished = ReturnType<typeof packFinished>;

// oxlint-disable-next-line typescript/explicit-module-boundary-types -- the order of the fields is its type.
export function packItem(item: Item) {
  const { id, lane, callId, ref, bytes, priority, maxAttempts, resultTtlMs } = item.record;
  const { orderKey, dedupKey, dedupWindowMs, delayMs, maxAgeMs, replayOf } = item.record;
  return [
    [id, lane, callId, ref, bytes, priority, maxAttempts, resultTtlMs] as const,
    [orderKey, dedupKey, dedupWindowMs, delayMs, maxAgeMs, replayOf] as const,
    [item.ref, item.sequence, item.rank, item.acceptedAt, item.state, item.due, item.readySince] as const,
    [item.expiresAt, item.attempt, item.epoch, item.leasedUntil, item.holder, item.startedAt] as const,
    item.cancelRequested,
    item.errors,
  ] as const;
}

export function unpackItem([what, options, place, attempts, cancelRequested, errors]: PackedItem): Item {
  const [id, lane, callId, acceptedRef, bytes, priority, maxAttempts, resultTtlMs] = what;
  const [orderKey, dedupKey, dedupWindowMs, delayMs, maxAgeMs, replayOf] = options;
  const [ref, sequence, rank, acceptedAt, state, due, readySince] = place;
  const [expiresAt, attempt, epoch, leasedUntil, holder, startedAt] = attempts;
  const record: NewRecord = {
    id,
    lane,
    callId,
    ref: acceptedRef,
    bytes,
    priority,
    maxAttempts,
    resultTtlMs,
    orderKey: orderKey ?? undefined,
    dedupKey: dedupKey ?? undefined,
    dedupWindowMs: dedupWindowMs ?? undefined,
    delayMs: delayMs ?? undefined,
    maxAgeMs: maxAgeMs ?? undefined,
    replayOf: replayOf ?? undefined,
  };
  return {
    record,
    ref,
    sequence,
    rank,
    acceptedAt,
    state,
    due,
    readySince,
    expiresAt: expiresAt ?? undefined,
    attempt,
    epoch,
    leasedUntil,
    holder: holder ?? undefined,
    startedAt: startedAt ?? undefined,
    cancelRequested,
    errors,
  };
}

// oxlint-disable-next-line typescript/explicit-module-boundary-types -- the order of the fields is its type.
export function packFinished(finished: Finished) {
  const { id, lane, callId, sequence, state, attempt, acceptedAt, startedAt, finishedAt } = finished;
  const { errors, reason, replayOf, ref, hasResult, small, goneAt, forgetAt } = finished;
  return [
    [id, lane, callId, sequence, state, attempt, acceptedAt, startedAt, finishedAt] as const,
    [errors, reason, replayOf, ref, hasResult, small, goneAt, forgetAt] as const,
  ] as const;
}

export function unpackFinished([what, end]: PackedFinished): Finished {
  const [id, lane, callId, sequence, state, attempt, acceptedAt, startedAt, finishedAt] = what;
  const [errors, reason, replayOf, ref, hasResult, small, goneAt, forgetAt] = end;
  return {
    id,
    lane,
    callId,
    sequence,
    state,
    attempt,
    acceptedAt,
    startedAt: startedAt ?? undefined,
    finishedAt,
    errors,
    reason: reason ?? undefined,
    replayOf: replayOf ?? undefined,
    ref: ref ?? undefined,
    hasResult,
    small: small ?? undefined,
    goneAt,
    forgetAt,
  };
}
