import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { DeadReason, InvocationState } from '../../../core/contracts/invocation.ts';
import type {
  AttemptError,
  CancelResult,
  EnqueueResult,
  Receipt,
  SettleResult,
} from '../../../core/contracts/queue.ts';
import { failpoint } from '../../../core/delivery/failpoint.ts';
import type { Counters, LaneCounters } from './counters.ts';
import type { ThreadOptions, WireDisposition, WireError, WireLease, WireMessage, WireResult } from './protocol.ts';

export const states = { ready: 0, delayed: 1, leased: 2, blocked: 3 } as const;
type State = (typeof states)[keyof typeof states];
const countOf = ['ready', 'delayed', 'leased', 'blocked'] as const satisfies readonly (keyof LaneCounters)[];

/** A row of `message`. */
export interface MessageRow {
  readonly seq: number;
  readonly id: string;
  readonly lane: number;
  readonly state: State;
  readonly due: number;
  readonly attempt: number;
  readonly epoch: number;
  readonly expires: number | null;
  readonly cancel: number;
  readonly priority: number;
  readonly max_attempts: number;
  readonly max_age: number | null;
  readonly result_ttl: number;
  readonly bytes: number;
  readonly order_key: string | null;
  readonly started_at: number | null;
  readonly due_at: number | null;
}

/** What is due by itself, as bounds from below: nothing of a kind is due before its bound. */
export interface Due {
  delayed: number;
  leased: number;
  expires: number;
}

/** How many due rows one transaction takes on of each kind; the next one goes on. */
const dueBatch = 500;

/**
 * Messages that have not ended, and their ends. Runs in the thread, inside a transaction that the caller begins and
 * commits; `time` is the queue's own time, `wallMs` what is recorded.
 */
export class Messages {
  time = 0;
  wallMs = 0;
  /** Ids that ended since it was last emptied. */
  readonly ended: string[] = [];
  readonly due: Due = { delayed: 0, leased: 0, expires: 0 };
  #size = 0;
  #bytes = 0;
  readonly #counters: Counters;
  readonly #options: ThreadOptions;
  readonly #sql;

  constructor(database: DatabaseSync, counters: Counters, options: ThreadOptions) {
    this.#counters = counters;
    this.#options = options;
    this.#sql = statements(database);
    this.recount();
  }

  /** After a start, or a transaction that failed. */
  recount(): void {
    this.#size = 0;
    this.#bytes = 0;
    for (const lane of this.#counters.all()) {
      this.#size += lane.ready + lane.blocked + lane.delayed + lane.leased;
      this.#bytes += lane.bytes;
    }
    this.due.delayed = 0;
    this.due.leased = 0;
    this.due.expires = 0;
    this.ended.length = 0;
  }

  enqueue(message: WireMessage): EnqueueResult {
    const first = this.#duplicateOf(message);
    if (first !== undefined) return { status: 'duplicate', id: first };
    const { limits } = this.#options;
    const lane = this.#counters.find(message.lane);
    const inLane = lane ? lane.ready + lane.blocked + lane.delayed + lane.leased : 0;
    const full =
      this.#size >= limits.messages ||
      this.#bytes + message.body.byteLength > limits.bytes ||
      (limits.perLane !== undefined && inLane >= limits.perLane);
    if (full) return { status: 'full', id: message.id };
    this.accept(message);
    return { status: 'accepted', id: message.id };
  }

  /** Without regard to limits: for what follows from something that was accepted. False if it is there already. */
  acceptOnce(message: WireMessage): boolean {
    if (this.#duplicateOf(message) !== undefined) return false;
    this.accept(message);
    return true;
  }

  accept(message: WireMessage): void {
    const { id, priority, orderKey, delayMs, maxAgeMs, body } = message;
    const lane = this.#counters.change(message.lane);
    // Rounded up, so that nothing is early by the part of a millisecond.
    const due = Math.ceil(this.time) + delayMs;
    const behind = orderKey !== null && this.#sql.keyTaken.get(lane.id, orderKey) !== undefined;
    const state = behind ? states.blocked : delayMs > 0 ? states.delayed : states.ready;
    const expires = maxAgeMs === null ? null : Math.ceil(this.time) + maxAgeMs;
    const { lastInsertRowid: seq } = this.#sql.insert.run(
      id,
      lane.id,
      state,
      due - priority * this.#options.agingStepMs,
      due,
      expires,
      priority,
      message.maxAttempts,
      message.resultTtlMs,
      body.byteLength,
      orderKey,
      maxAgeMs,
      delayMs > 0 ? this.wallMs + delayMs : null,
    );
    this.#sql.insertContent.run(seq, message.envelope, body);
    if (message.dedupKey !== null) {
      this.#sql.putDedup.run(lane.id, message.dedupKey, id, Math.ceil(this.time) + message.dedupWindowMs);
    }
    if (state === states.delayed) this.due.delayed = Math.min(this.due.delayed, due);
    if (expires !== null) this.due.expires = Math.min(this.due.expires, expires);
    lane[countOf[state]]++;
    lane.bytes += body.byteLength;
    lane.accepted++;
    this.#size++;
    this.#bytes += body.byteLength;
  }

  lease(name: string, max: number, ttlMs: number): WireLease[] {
    const known = this.#counters.find(name);
    if (!known || known.paused === 1 || known.ready === 0) return [];
    const lane = this.#counters.change(name);
    const until = Math.ceil(this.time) + ttlMs;
    this.due.leased = Math.min(this.due.leased, until);
    const rows = this.#sql.takeReady.all(lane.id, max) as unknown as (MessageRow & {
      envelope: string;
      body: Uint8Array;
    })[];
    return rows.map((row) => {
      this.#sql.lease.run(until, this.wallMs, row.seq);
      lane.ready--;
      lane.leased++;
      return {
        receipt: { id: row.id, lane: name, epoch: row.epoch + 1 },
        attempt: row.attempt + 1,
        message: {
          id: row.id,
          lane: name,
          envelope: row.envelope,
          body: row.body,
          priority: row.priority,
          maxAttempts: row.max_attempts,
          orderKey: row.order_key,
          dedupKey: null,
          dedupWindowMs: 0,
          delayMs: 0,
          maxAgeMs: row.max_age,
          resultTtlMs: row.result_ttl,
        },
      };
    });
  }

  extend(receipt: Receipt, ttlMs: number): SettleResult {
    const row = this.#current(receipt);
    if (!row) return 'stale';
    this.#sql.extend.run(Math.ceil(this.time) + ttlMs, row.seq);
    return 'settled';
  }

  settle(receipt: Receipt, disposition: WireDisposition): SettleResult {
    const row = this.#current(receipt);
    if (!row) {
      this.#counters.change(receipt.lane).stale++;
      return 'stale';
    }
    switch (disposition.kind) {
      case 'ack':
        this.#end(row, 'succeeded', undefined, disposition.result);
        break;
      case 'dead':
        this.#addError(row, disposition.error);
        this.#end(row, 'dead', disposition.reason, disposition.result);
        break;
      case 'cancelled':
        this.#end(row, 'cancelled');
        break;
      case 'retry':
        this.#retry(row, disposition);
        break;
    }
    if (disposition.kind === 'ack' || disposition.kind === 'dead') {
      for (const effect of disposition.effects) this.acceptOnce(effect);
    }
    return 'settled';
  }

  cancel(id: string): CancelResult {
    const row = this.#sql.byId.get(id) as unknown as MessageRow | undefined;
    if (!row) return this.#sql.recordExists.get(id) ? 'finished' : 'unknown';
    if (row.state === states.leased) {
      this.#sql.requestCancel.run(row.seq);
      return 'running';
    }
    this.#end(row, 'cancelled');
    return 'cancelled';
  }

  /** Does what is due by now, at most a batch of each kind. True when there may be more. */
  catchUp(): boolean {
    const now = Math.floor(this.time);
    let more = false;
    const rows = (statement: StatementSync): MessageRow[] => {
      const found = statement.all(now, dueBatch) as unknown as MessageRow[];
      more ||= found.length === dueBatch;
      return found;
    };
    if (this.due.expires <= now) {
      for (const row of rows(this.#sql.expired)) this.#end(row, 'expired', 'expired');
      this.due.expires = least(this.#sql.nextExpires);
    }
    if (this.due.delayed <= now) {
      for (const row of rows(this.#sql.dueNow)) this.#move(row, states.ready);
      this.due.delayed = least(this.#sql.nextDelayed);
    }
    if (this.due.leased <= now) {
      const message = 'the lease ran out before the attempt had ended';
      for (const row of rows(this.#sql.lapsed)) this.#crashed(row, message);
      this.due.leased = least(this.#sql.nextLeased);
    }
    return more;
  }

  /** Every lease of the process that had the file before: the lock proves that it is dead. */
  recover(): void {
    for (const row of this.#sql.allLeased.all() as unknown as MessageRow[]) {
      this.#crashed(row, 'the gateway ended while the attempt ran');
    }
  }

  errorsOf(seq: number): AttemptError[] {
    return this.#sql.errors.all(seq).map(({ error }) => JSON.parse(String(error)) as AttemptError);
  }

  #duplicateOf({ id, lane: name, dedupKey }: WireMessage): string | undefined {
    if (this.#sql.exists.get(id) ?? this.#sql.recordExists.get(id)) return id;
    const lane = dedupKey === null ? undefined : this.#counters.find(name);
    if (!lane || dedupKey === null) return undefined;
    return this.#sql.dedup.get(lane.id, dedupKey, Math.floor(this.time))?.['id'] as string | undefined;
  }

  #current({ id, epoch }: Receipt): MessageRow | undefined {
    const row = this.#sql.byId.get(id) as unknown as MessageRow | undefined;
    return row?.state === states.leased && row.epoch === epoch ? row : undefined;
  }

  #crashed(row: MessageRow, message: string): void {
    this.#addError(row, { code: 'function.crashed', message });
    if (row.cancel === 1) this.#end(row, 'cancelled');
    else if (row.attempt >= row.max_attempts) this.#end(row, 'dead', 'crashed');
    else this.#again(row, 0);
  }

  #retry(row: MessageRow, { delayMs, error, counted }: Extract<WireDisposition, { kind: 'retry' }>): void {
    if (error) this.#addError(row, error);
    if (!counted) this.#sql.uncount.run(row.seq);
    if (row.cancel === 1) {
      this.#end({ ...row, attempt: counted ? row.attempt : row.attempt - 1 }, 'cancelled');
      return;
    }
    if (counted) this.#counters.changeById(row.lane).retried++;
    this.#again(row, delayMs);
  }

  #again(row: MessageRow, delayMs: number): void {
    if (row.expires !== null && this.time + delayMs >= row.expires) {
      this.#end(row, 'expired', 'expired');
      return;
    }
    const due = Math.ceil(this.time) + delayMs;
    this.#sql.setDue.run(due, this.wallMs + delayMs, row.seq);
    if (delayMs > 0) this.due.delayed = Math.min(this.due.delayed, due);
    if (row.expires !== null) this.due.expires = Math.min(this.due.expires, row.expires);
    this.#move(row, delayMs > 0 ? states.delayed : states.ready);
  }

  #move(row: MessageRow, state: State): void {
    this.#sql.setState.run(state, row.seq);
    const lane = this.#counters.changeById(row.lane);
    lane[countOf[row.state]]--;
    lane[countOf[state]]++;
  }

  #addError({ seq, attempt }: MessageRow, { code, message, status }: WireError): void {
    const error: AttemptError = { attempt, at: this.wallMs, code, message, ...(status !== undefined && { status }) };
    this.#sql.addError.run(seq, seq, JSON.stringify(error));
  }

  #end(
    row: MessageRow,
    state: Extract<InvocationState, 'succeeded' | 'dead' | 'expired' | 'cancelled'>,
    reason?: DeadReason,
    result?: WireResult,
  ): void {
    const { seq } = row;
    const lane = this.#counters.changeById(row.lane);
    const errors = row.attempt > 1 || state !== 'succeeded' ? this.errorsOf(seq) : [];
    const errorText = errors.length === 0 ? null : JSON.stringify(errors);
    const { envelope } = this.#sql.content.get(seq) as { envelope: string };
    const gone = Math.ceil(this.time) + row.result_ttl;
    this.#sql.insertRecord.run(
      row.id,
      row.lane,
      state,
      row.attempt,
      envelope,
      row.started_at,
      this.wallMs,
      errorText,
      reason ?? null,
      result?.status ?? null,
      result?.headers ?? null,
      result?.body ?? null,
      gone,
    );
    if (reason) {
      this.#sql.insertLetter.run(reason, errorText ?? '[]', this.wallMs, Math.ceil(this.time), seq);
      lane.letters++;
      failpoint('queue.dead-letter');
    }
    if (errors.length > 0) this.#sql.deleteErrors.run(seq);
    this.#sql.deleteContent.run(seq);
    this.#sql.deleteMessage.run(seq);
    lane[countOf[row.state]]--;
    lane[state]++;
    lane.bytes -= row.bytes;
    this.#size--;
    this.#bytes -= row.bytes;
    this.ended.push(row.id);
    if (row.order_key !== null) this.#release(row.lane, row.order_key);
  }

  /** The next one of the key may move, unless it does already. */
  #release(lane: number, key: string): void {
    const next = this.#sql.headOfKey.get(lane, key) as unknown as MessageRow | undefined;
    if (next?.state !== states.blocked) return;
    if (next.due > this.time) {
      this.due.delayed = Math.min(this.due.delayed, next.due);
      this.#move(next, states.delayed);
    } else this.#move(next, states.ready);
  }
}

function least(statement: StatementSync): number {
  const value = statement.get()?.['at'];
  return typeof value === 'number' ? value : Infinity;
}

function statements(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    insert:
      sql(`INSERT INTO message (id, lane, state, rank, due, attempt, epoch, leased_until, expires, cancel, priority,
      max_attempts, result_ttl, bytes, order_key, max_age, due_at) VALUES (?, ?, ?, ?, ?, 0, 0, 0, ?, 0, ?, ?, ?, ?, ?, ?, ?)`),
    insertContent: sql('INSERT INTO content (seq, envelope, body) VALUES (?, ?, ?)'),
    exists: sql('SELECT 1 FROM message WHERE id = ?'),
    recordExists: sql('SELECT 1 FROM record WHERE id = ?'),
    keyTaken: sql('SELECT 1 FROM message WHERE lane = ? AND order_key = ? LIMIT 1'),
    headOfKey: sql('SELECT * FROM message WHERE lane = ? AND order_key = ? ORDER BY seq LIMIT 1'),
    dedup: sql('SELECT id FROM dedup WHERE lane = ? AND key = ? AND until > ?'),
    putDedup: sql('INSERT OR REPLACE INTO dedup (lane, key, id, until) VALUES (?, ?, ?, ?)'),
    takeReady:
      sql(`SELECT m.seq, m.id, m.attempt, m.epoch, m.priority, m.max_attempts, m.order_key, m.max_age, m.result_ttl,
      c.envelope, c.body FROM message m JOIN content c ON c.seq = m.seq
      WHERE m.lane = ? AND m.state = 0 ORDER BY m.rank, m.seq LIMIT ?`),
    lease: sql(`UPDATE message SET state = 2, attempt = attempt + 1, epoch = epoch + 1, leased_until = ?, started_at = ?
      WHERE seq = ?`),
    extend: sql('UPDATE message SET leased_until = ? WHERE seq = ?'),
    byId: sql('SELECT * FROM message WHERE id = ?'),
    requestCancel: sql('UPDATE message SET cancel = 1 WHERE seq = ?'),
    uncount: sql('UPDATE message SET attempt = attempt - 1 WHERE seq = ?'),
    setState: sql('UPDATE message SET state = ? WHERE seq = ?'),
    setDue: sql('UPDATE message SET due = ?, due_at = ? WHERE seq = ?'),
    expired: sql('SELECT * FROM message WHERE expires <= ? AND state <> 2 ORDER BY expires LIMIT ?'),
    dueNow: sql('SELECT * FROM message WHERE state = 1 AND due <= ? ORDER BY due LIMIT ?'),
    lapsed: sql('SELECT * FROM message WHERE state = 2 AND leased_until <= ? ORDER BY leased_until LIMIT ?'),
    allLeased: sql('SELECT * FROM message WHERE state = 2'),
    nextExpires: sql('SELECT min(expires) AS at FROM message WHERE expires IS NOT NULL AND state <> 2'),
    nextDelayed: sql('SELECT min(due) AS at FROM message WHERE state = 1'),
    nextLeased: sql('SELECT min(leased_until) AS at FROM message WHERE state = 2'),
    errors: sql('SELECT error FROM attempt_error WHERE seq = ? ORDER BY position'),
    addError: sql(`INSERT INTO attempt_error (seq, position, error)
      VALUES (?, (SELECT coalesce(max(position), 0) + 1 FROM attempt_error WHERE seq = ?), ?)`),
    deleteErrors: sql('DELETE FROM attempt_error WHERE seq = ?'),
    content: sql('SELECT envelope FROM content WHERE seq = ?'),
    deleteContent: sql('DELETE FROM content WHERE seq = ?'),
    deleteMessage: sql('DELETE FROM message WHERE seq = ?'),
    insertRecord:
      sql(`INSERT INTO record (id, lane, state, attempt, envelope, started_at, finished_at, errors, reason, status,
      headers, body, gone, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13)`),
    insertLetter: sql(`INSERT INTO letter (id, lane, reason, attempt, envelope, body, errors, died_at, died, priority,
      max_attempts, result_ttl, max_age, order_key)
      SELECT m.id, m.lane, ?1, m.attempt, c.envelope, c.body, ?2, ?3, ?4, m.priority, m.max_attempts, m.result_ttl,
      m.max_age, m.order_key FROM message m JOIN content c ON c.seq = m.seq WHERE m.seq = ?5`),
  };
}
