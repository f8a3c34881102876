import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { DeadReason, InvocationState } from '../../../core/contracts/invocation.ts';
import type {
  AttemptError,
  DeadLetter,
  DeadLetterFilter,
  DeadLetterPage,
  Envelope,
  LaneStats,
  MessageRecord,
  StoredResult,
} from '../../../core/contracts/queue.ts';
import type { Counters } from './counters.ts';
import { type MessageRow, type Messages, states } from './messages.ts';
import type { Operations, ThreadOptions } from './protocol.ts';

/** How many rows one transaction sweeps of each kind. */
const sweepBatch = 200;
/** Of the messages that go first, so many are asked for their age: see `oldestAge`. */
const ageSample = 100;

type Row = Readonly<Record<string, unknown>>;

/** What is known of messages, ended or not: records, dead letters, numbers; and the sweeping out of what is too old. */
export class Records {
  readonly #counters: Counters;
  readonly #messages: Messages;
  readonly #options: ThreadOptions;
  readonly #database: DatabaseSync;
  readonly #sql;
  #sweepAt = 0;

  constructor(database: DatabaseSync, counters: Counters, messages: Messages, options: ThreadOptions) {
    this.#database = database;
    this.#counters = counters;
    this.#messages = messages;
    this.#options = options;
    this.#sql = statements(database);
  }

  find(id: string): MessageRecord | undefined {
    const record = this.#sql.record.get(id) as Row | undefined;
    if (record) return this.#finished(record);
    const row = this.#sql.message.get(id) as unknown as (MessageRow & { envelope: string }) | undefined;
    if (!row) return undefined;
    return {
      id,
      lane: this.#counters.nameOf(row.lane),
      state: stateOf(row),
      attempt: row.attempt,
      envelope: JSON.parse(row.envelope) as Envelope,
      startedAt: row.started_at ?? undefined,
      finishedAt: undefined,
      dueAt: row.state === states.delayed ? (row.due_at ?? undefined) : undefined,
      errors: this.#messages.errorsOf(row.seq),
      deadReason: undefined,
      result: undefined,
    };
  }

  lanes(): LaneStats[] {
    return [...this.#counters.all()].map((lane) => ({
      lane: lane.name,
      ready: lane.ready,
      blocked: lane.blocked,
      delayed: lane.delayed,
      leased: lane.leased,
      dead: lane.letters,
      bytes: lane.bytes,
      oldestReadyAgeMs: lane.ready === 0 ? 0 : this.#oldestAge(lane.id),
      paused: lane.paused === 1,
      totals: {
        accepted: lane.accepted,
        succeeded: lane.succeeded,
        dead: lane.dead,
        expired: lane.expired,
        cancelled: lane.cancelled,
        retried: lane.retried,
        stale: lane.stale,
      },
    }));
  }

  list(filter: DeadLetterFilter, limit: number, cursor: string | undefined): DeadLetterPage {
    const { where, values } = this.#where(filter);
    const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : Number(cursor);
    const found = this.#database
      .prepare(`SELECT *, length(body) AS bytes FROM letter WHERE seq < ? ${where} ORDER BY seq DESC LIMIT ?`)
      .all(before, ...values, limit + 1) as Row[];
    const page = found.slice(0, limit);
    return {
      items: page.map((row) => this.#letter(row)),
      cursor: found.length > limit ? String(page.at(-1)?.['seq']) : undefined,
    };
  }

  get(id: string): DeadLetter | undefined {
    const row = this.#sql.letter.get(id) as Row | undefined;
    return row && this.#letter(row);
  }

  body(id: string): Uint8Array | undefined {
    return this.#sql.letterBody.get(id)?.['body'] as Uint8Array | undefined;
  }

  replay({ id, newId, to, headers, body }: Operations['replay']['in']): boolean {
    const row = this.#sql.letter.get(id) as Row | undefined;
    // The same replay again, after its answer was lost: the new invocation is there.
    if (!row) return this.#envelopeOf(newId)?.replayOf === id;
    const envelope = JSON.parse(String(row['envelope'])) as Envelope;
    const edited = Object.entries({ ...envelope.headers, ...headers }).filter(([, value]) => value !== null);
    const name = this.#counters.nameOf(Number(row['lane']));
    this.#remove(Number(row['seq']), name);
    this.#messages.accept({
      id: newId,
      lane: to ?? name,
      envelope: JSON.stringify({ ...envelope, headers: Object.fromEntries(edited), replayOf: id }),
      body: body ?? (row['body'] as Uint8Array),
      priority: Number(row['priority']),
      maxAttempts: Number(row['max_attempts']),
      orderKey: row['order_key'] as string | null,
      dedupKey: null,
      dedupWindowMs: 0,
      delayMs: 0,
      maxAgeMs: row['max_age'] as number | null,
      resultTtlMs: Number(row['result_ttl']),
    });
    return true;
  }

  purge(filter: DeadLetterFilter, id: string | undefined): number {
    const { where, values } = this.#where(filter);
    const only = id === undefined ? '' : 'AND id = ?';
    const rows = this.#database
      .prepare(`DELETE FROM letter WHERE 1 ${where} ${only} RETURNING lane`)
      .all(...values, ...(id === undefined ? [] : [id])) as { lane: number }[];
    for (const { lane } of rows) this.#counters.changeById(lane).letters--;
    return rows.length;
  }

  /** Removes what has outlived its time, a little at a time. Returns when to come again. */
  sweep(): number {
    const now = Math.floor(this.#messages.time);
    if (now < this.#sweepAt) return this.#sweepAt;
    const { tombstoneMs, letterRetentionMs } = this.#options;
    // A result that is gone leaves its record for a while, so that whoever asks learns that it was there.
    let swept = Number(this.#sql.dropRecords.run(now, sweepBatch).changes);
    swept += Number(this.#sql.dropResults.run(tombstoneMs, now, sweepBatch).changes);
    swept += Number(this.#sql.dropDedup.run(now, sweepBatch).changes);
    for (const row of this.#sql.oldLetters.all(now - letterRetentionMs, sweepBatch) as Row[]) {
      this.#remove(Number(row['seq']), this.#counters.nameOf(Number(row['lane'])));
      swept++;
    }
    this.#sweepAt = now + (swept >= sweepBatch ? 20 : 1000);
    return this.#sweepAt;
  }

  #finished(row: Row): MessageRecord {
    const gone = Number(row['gone']) <= Math.floor(this.#messages.time);
    const status = row['status'];
    const result: StoredResult | undefined =
      typeof status === 'number'
        ? {
            status,
            headers: JSON.parse(String(row['headers'])) as StoredResult['headers'],
            body: row['body'] as Uint8Array,
          }
        : undefined;
    return {
      id: String(row['id']),
      lane: this.#counters.nameOf(Number(row['lane'])),
      state: row['state'] as InvocationState,
      attempt: Number(row['attempt']),
      envelope: JSON.parse(String(row['envelope'])) as Envelope,
      startedAt: (row['started_at'] as number | null) ?? undefined,
      finishedAt: Number(row['finished_at']),
      dueAt: undefined,
      errors: row['errors'] === null ? [] : (JSON.parse(String(row['errors'])) as AttemptError[]),
      deadReason: (row['reason'] as DeadReason | null) ?? undefined,
      result: gone ? 'expired' : result,
    };
  }

  /**
   * Age of the longest-waiting of the first hundred that go next. Exact unless more than a hundred of higher priority
   * are ahead of an older one, and then wrong by less than nine aging steps; an exact answer would cost every message
   * another index.
   */
  #oldestAge(lane: number): number {
    const since = this.#sql.oldest.get(lane, ageSample)?.['since'];
    return typeof since === 'number' ? Math.max(0, Math.floor(this.#messages.time) - since) : 0;
  }

  #where({ lane, reason }: DeadLetterFilter): { where: string; values: (string | number)[] } {
    let where = '';
    const values: (string | number)[] = [];
    if (lane !== undefined) {
      where += ' AND lane = ?';
      values.push(this.#counters.find(lane)?.id ?? -1);
    }
    if (reason !== undefined) {
      where += ' AND reason = ?';
      values.push(reason);
    }
    return { where, values };
  }

  #letter(row: Row): DeadLetter {
    return {
      id: String(row['id']),
      lane: this.#counters.nameOf(Number(row['lane'])),
      reason: row['reason'] as DeadReason,
      attempt: Number(row['attempt']),
      envelope: JSON.parse(String(row['envelope'])) as Envelope,
      bodyBytes: Number(row['bytes']),
      errors: JSON.parse(String(row['errors'])) as AttemptError[],
      diedAt: Number(row['died_at']),
    };
  }

  #remove(seq: number, lane: string): void {
    this.#sql.deleteLetter.run(seq);
    this.#counters.change(lane).letters--;
  }

  #envelopeOf(id: string): Envelope | undefined {
    return this.find(id)?.envelope;
  }
}

function stateOf({ state, attempt }: MessageRow): InvocationState {
  if (state === states.leased) return 'running';
  if (attempt > 0) return 'failed';
  return state === states.delayed ? 'delayed' : 'queued';
}

function statements(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    record: sql('SELECT * FROM record WHERE id = ?'),
    message: sql('SELECT m.*, c.envelope FROM message m JOIN content c ON c.seq = m.seq WHERE m.id = ?'),
    oldest: sql(`SELECT min(due) AS since FROM
      (SELECT due FROM message WHERE lane = ? AND state = 0 ORDER BY rank, seq LIMIT ?)`),
    letter: sql('SELECT *, length(body) AS bytes FROM letter WHERE id = ?'),
    letterBody: sql('SELECT body FROM letter WHERE id = ?'),
    deleteLetter: sql('DELETE FROM letter WHERE seq = ?'),
    oldLetters: sql('SELECT seq, lane FROM letter WHERE died <= ? ORDER BY died LIMIT ?'),
    // `expires` is first the end of the result, then, once that is dropped, the end of the record.
    dropResults: sql(`UPDATE record SET status = NULL, headers = NULL, body = NULL, expires = gone + ?1
      WHERE rowid IN (SELECT rowid FROM record WHERE expires <= ?2 AND expires = gone LIMIT ?3)`),
    dropRecords: sql(`DELETE FROM record
      WHERE rowid IN (SELECT rowid FROM record WHERE expires <= ?1 AND expires > gone LIMIT ?2)`),
    dropDedup: sql(`DELETE FROM dedup
      WHERE (lane, key) IN (SELECT lane, key FROM dedup WHERE until <= ? LIMIT ?)`),
  };
}
