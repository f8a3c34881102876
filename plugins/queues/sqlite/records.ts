import type { StatementSync } from 'node:sqlite';
import type { DeadReason, InvocationState } from '../../../core/contracts/invocation.ts';
import type { AttemptError, LaneStats } from '../../../core/contracts/queue.ts';
import type { Lanes } from './lanes.ts';
import type { PackedRecord } from './protocol.ts';
import { state } from './schema.ts';
import type { Step } from './step.ts';
import { isWhole } from './sums.ts';

interface RecordRow {
  readonly seq: number;
  readonly lane: number;
  readonly state: number;
  readonly attempt: number;
  readonly due: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly result_until: number | null;
  readonly until: number | null;
  readonly reason: DeadReason | null;
  readonly text: string | null;
  readonly text_sum: number;
}

interface ResultRow {
  readonly status: number;
  readonly headers: string;
  readonly sum: number;
  readonly body: Uint8Array;
}

/** What is known of messages and lanes. Changes nothing. */
export class Records {
  readonly #step: Step;
  readonly #lanes: Lanes;
  readonly #find: StatementSync;
  readonly #result: StatementSync;
  readonly #errors: StatementSync;
  readonly #oldest: StatementSync;

  constructor(step: Step, lanes: Lanes) {
    this.#step = step;
    this.#lanes = lanes;
    const { database } = step;
    this.#find = database.prepare(
      `SELECT m.seq, m.lane, m.state, m.attempt, m.due, m.started_at, m.finished_at, m.result_until, m.until, m.reason,
       c.text, c.text_sum FROM message m LEFT JOIN content c ON c.seq = m.seq WHERE m.id = ?`,
    );
    this.#result = database.prepare('SELECT status, headers, sum, body FROM result WHERE seq = ?');
    this.#errors = database.prepare(
      'SELECT attempt, at, code, message, status FROM attempt_error WHERE seq = ? ORDER BY number',
    );
    this.#oldest = database.prepare(
      'SELECT min(due) AS due FROM message INDEXED BY message_waiting WHERE lane = ? AND state = 0',
    );
  }

  find(id: string): PackedRecord | undefined {
    const { now, wall } = this.#step;
    const row = this.#find.get(id) as RecordRow | undefined;
    if (!row || (row.until !== null && row.until <= now)) return undefined;
    const lane = this.#lanes.withId(row.lane).name;
    return {
      id,
      lane,
      state: stateOf(row),
      attempt: row.attempt,
      text: legible(id, lane, row),
      startedAt: row.started_at ?? undefined,
      finishedAt: row.finished_at ?? undefined,
      dueAt: row.state === state.delayed ? wall + row.due - now : undefined,
      errors: this.errorsOf(row.seq),
      deadReason: row.reason ?? undefined,
      result: this.#resultOf(id, lane, row),
    };
  }

  errorsOf(seq: number): AttemptError[] {
    const rows = this.#errors.all(seq) as unknown as (Omit<AttemptError, 'status'> & { status: number | null })[];
    return rows.map(({ attempt, at, code, message, status }) =>
      status === null ? { attempt, at, code, message } : { attempt, at, code, message, status },
    );
  }

  lanes(): LaneStats[] {
    return Array.from(this.#lanes.all(), ({ id, name, paused, counts }) => {
      const { ready, blocked, delayed, leased, letters, bytes, ...totals } = counts;
      const oldest = ready === 0 ? null : (this.#oldest.get(id) as { due: number | null }).due;
      const oldestReadyAgeMs = oldest === null ? 0 : Math.max(0, this.#step.now - oldest);
      return { lane: name, ready, blocked, delayed, leased, dead: letters, bytes, oldestReadyAgeMs, paused, totals };
    });
  }

  #resultOf(id: string, lane: string, { seq, state: current, result_until: until }: RecordRow): PackedRecord['result'] {
    if (current < state.succeeded) return undefined;
    if (until !== null && until <= this.#step.now) return 'expired';
    const row = this.#result.get(seq) as ResultRow | undefined;
    if (!row) return undefined;
    // What is damaged is never served: it counts as gone.
    if (!isWhole(row.sum, id, lane, row.headers, row.body)) return 'expired';
    return { status: row.status, headers: row.headers, body: row.body };
  }
}

/** What is shown of a message that cannot be read any more. */
const unreadable = JSON.stringify({
  envelope: { callId: '', method: '', path: '', query: '', headers: {}, source: '', depth: 0, acceptedAt: 0 },
});

interface Text {
  readonly text: string | null;
  readonly text_sum: number;
}

/** The text, if it is what was written of that message. */
export function intact(id: string, lane: string, { text, text_sum: sum }: Text): string | undefined {
  return text !== null && isWhole(sum, id, lane, text) ? text : undefined;
}

export function legible(id: string, lane: string, row: Text): string {
  return intact(id, lane, row) ?? unreadable;
}

function stateOf({ state: current, attempt }: RecordRow): InvocationState {
  switch (current) {
    case state.leased:
      return 'running';
    case state.succeeded:
      return 'succeeded';
    case state.dead:
      return 'dead';
    case state.expired:
      return 'expired';
    case state.cancelled:
      return 'cancelled';
    default:
      if (attempt > 0) return 'failed';
      return current === state.delayed ? 'delayed' : 'queued';
  }
}
