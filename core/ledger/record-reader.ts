import type { InvocationState } from '../contracts/invocation.ts';
import type { Envelope, MessageRecord } from '../contracts/queue.ts';
import type { Bodies } from './bodies.ts';
import { unpackEnvelope, unpackResult, unpackSmallResult } from './packing.ts';
import type { Finished, Item } from './records.ts';
import type { Replica } from './replica.ts';

/** What is known of a message: the state's part, and what its bytes say. */
export class RecordReader {
  readonly #replica: Replica;
  readonly #bodies: Bodies;

  constructor(replica: Replica, bodies: Bodies) {
    this.#replica = replica;
    this.#bodies = bodies;
  }

  isLive(id: string): boolean {
    return this.#replica.state.messages.live.has(id);
  }

  isKnown(id: string): boolean {
    return this.isLive(id) || this.#replica.state.messages.finished.has(id);
  }

  async find(id: string): Promise<MessageRecord | undefined> {
    const { live, finished } = this.#replica.state.messages;
    const item = live.get(id);
    if (item) return this.#ofLive(item);
    const ended = finished.get(id);
    return ended && this.#ofFinished(ended);
  }

  async #ofLive(item: Item): Promise<MessageRecord> {
    const { record, attempt, startedAt, errors, state, due } = item;
    // Taken before anything is awaited: the item may change.
    const known = {
      id: record.id,
      lane: record.lane,
      state: stateOf(item),
      attempt,
      startedAt,
      finishedAt: undefined,
      dueAt: state === 'delayed' ? due : undefined,
      errors: [...errors],
      deadReason: undefined,
      result: undefined,
    };
    const bytes = await this.#bodies.get(item.ref);
    const envelope = bytes && unpackEnvelope(record.id, bytes);
    return { ...known, envelope: envelope ?? placeholder(record, item.acceptedAt) };
  }

  async #ofFinished(finished: Finished): Promise<MessageRecord> {
    const { id, lane, state, attempt, startedAt, finishedAt, errors, reason: deadReason, small } = finished;
    const known = { id, lane, state, attempt, startedAt, finishedAt, dueAt: undefined, errors, deadReason };
    const bytes = finished.ref && (await this.#bodies.get(finished.ref));
    const found = bytes && (finished.hasResult ? unpackResult(id, bytes) : besides(unpackEnvelope(id, bytes), small));
    return { ...known, ...(found ?? { envelope: placeholder(finished, finished.acceptedAt), result: 'expired' }) };
  }
}

function stateOf({ state, attempt }: Item): InvocationState {
  if (state === 'leased') return 'running';
  if (attempt > 0) return 'failed';
  return state === 'delayed' ? 'delayed' : 'queued';
}

function besides(
  envelope: Envelope | undefined,
  small: string | undefined,
): Pick<MessageRecord, 'envelope' | 'result'> | undefined {
  return envelope && { envelope, result: small === undefined ? undefined : unpackSmallResult(small) };
}

/** What is left of an envelope that has outlived its lifetime. */
export function placeholder(
  { callId, replayOf }: { readonly callId: string; readonly replayOf?: string | undefined },
  acceptedAt: number,
): Envelope {
  return { callId, method: '', path: '', query: '', headers: {}, source: '', depth: 0, acceptedAt, replayOf };
}
