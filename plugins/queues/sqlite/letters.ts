import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import type { DeadReason } from '../../../core/contracts/invocation.ts';
import type { DeadLetterFilter, Envelope, NewMessage } from '../../../core/contracts/queue.ts';
import type { Lanes } from './lanes.ts';
import type { Messages } from './messages.ts';
import type { Operation, PackedLetter } from './protocol.ts';
import { intact, legible, type Records } from './records.ts';
import type { Step } from './step.ts';
import { isWhole } from './sums.ts';

/** Removed in one batch at most. */
export const purgeLimit = 500;

const columns = `l.number, l.seq, l.lane, l.reason, l.died_at, m.id, m.attempt, m.bytes, c.text, c.text_sum`;
const joined = `FROM letter l JOIN message m ON m.seq = l.seq JOIN content c ON c.seq = l.seq`;
const filtered = `(:lane IS NULL OR l.lane = :lane) AND (:reason IS NULL OR l.reason = :reason)`;

// oxlint-disable-next-line typescript/explicit-module-boundary-types
function prepare(database: DatabaseSync) {
  return {
    list: database.prepare(
      `SELECT ${columns} ${joined} WHERE l.number < :before AND ${filtered} ORDER BY l.number DESC LIMIT :limit`,
    ),
    get: database.prepare(`SELECT ${columns} ${joined} WHERE m.id = ?`),
    body: database.prepare(`SELECT l.lane, c.body, c.body_sum ${joined} WHERE m.id = ?`),
    purge: database.prepare(
      `SELECT l.seq, l.lane FROM letter l WHERE ${filtered} AND
       (:id IS NULL OR l.seq = (SELECT seq FROM message WHERE id = :id)) LIMIT ${purgeLimit}`,
    ),
    remove: database.prepare('DELETE FROM letter WHERE seq = ?'),
    eraseBody: database.prepare('UPDATE content SET body = NULL WHERE seq = ?'),
  };
}

interface LetterRow {
  readonly number: number;
  readonly seq: number;
  readonly lane: number;
  readonly reason: DeadReason;
  readonly died_at: number;
  readonly id: string;
  readonly attempt: number;
  readonly bytes: number;
  readonly text: string;
  readonly text_sum: number;
}

/** Of one message: the rest of the batch is not concerned. */
export class Damaged extends Error {}

export class Letters {
  readonly #step: Step;
  readonly #lanes: Lanes;
  readonly #messages: Messages;
  readonly #records: Records;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(step: Step, lanes: Lanes, messages: Messages, records: Records) {
    this.#step = step;
    this.#lanes = lanes;
    this.#messages = messages;
    this.#records = records;
    this.#statements = prepare(step.database);
  }

  list({ filter, limit, before }: Extract<Operation, { kind: 'letters' }>): {
    items: PackedLetter[];
    cursor: string | undefined;
  } {
    const parameters = this.#parameters(filter);
    if (!parameters || limit <= 0) return { items: [], cursor: undefined };
    const rows = this.#statements.list.all({
      ...parameters,
      before: before ?? Number.MAX_SAFE_INTEGER,
      limit: limit + 1,
    }) as unknown as LetterRow[];
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return {
      items: page.map((row) => this.#letter(row)),
      cursor: last && rows.length > limit ? String(last.number) : undefined,
    };
  }

  get(id: string): PackedLetter | undefined {
    const row = this.#statements.get.get(id) as LetterRow | undefined;
    return row && this.#letter(row);
  }

  body(id: string): Uint8Array | undefined {
    const row = this.#statements.body.get(id) as
      | { lane: number; body: Uint8Array | null; body_sum: number }
      | undefined;
    if (!row) return undefined;
    if (row.body === null || !isWhole(row.body_sum, id, this.#lanes.withId(row.lane).name, row.body)) {
      throw new Damaged('the body of the dead letter is damaged: its checksum is wrong');
    }
    return row.body;
  }

  replay({ id, newId, to, headers, body }: Extract<Operation, { kind: 'replay' }>): boolean {
    const before = this.#records.find(newId);
    if (before) return (JSON.parse(before.text) as { envelope: Envelope }).envelope.replayOf === id;
    const row = this.#statements.get.get(id) as LetterRow | undefined;
    const bytes = body ? this.#step.bytes(body) : this.body(id);
    if (!row || !bytes) return false;
    const from = this.#lanes.withId(row.lane).name;
    const text = intact(id, from, row);
    if (text === undefined) throw new Damaged('the dead letter is damaged: its checksum is wrong');
    const message = JSON.parse(text) as Omit<NewMessage, 'id' | 'lane' | 'body'>;
    const { dedupKey: _key, dedupWindowMs: _window, delayMs: _delay, ...rest } = message;
    const edited = Object.entries({ ...rest.envelope.headers, ...headers }).filter(([, value]) => value !== null);
    const envelope = { ...rest.envelope, headers: Object.fromEntries(edited), replayOf: id };
    const lane = to ?? from;
    const { priority, maxAttempts, orderKey, maxAgeMs, resultTtlMs } = rest;
    this.#messages.accept(
      [
        newId,
        lane,
        JSON.stringify({ ...rest, envelope }),
        priority,
        maxAttempts,
        orderKey ?? null,
        null,
        0,
        0,
        maxAgeMs ?? null,
        resultTtlMs,
        [0, 0],
      ],
      bytes,
    );
    this.remove(row.seq, row.lane);
    return true;
  }

  /** Returns how many were removed; `purgeLimit` of them means that there may be more. */
  purge(filter: DeadLetterFilter & { readonly id?: string | undefined }): number {
    const parameters = this.#parameters(filter);
    if (!parameters) return 0;
    const rows = this.#statements.purge.all({ ...parameters, id: filter.id ?? null });
    for (const { seq, lane } of rows) this.remove(Number(seq), Number(lane));
    return rows.length;
  }

  /** Takes out the letter, and the body that nothing else needs. The record of its death stays. */
  remove(seq: number, laneId: number): void {
    if (this.#statements.remove.run(seq).changes === 0) return;
    this.#statements.eraseBody.run(seq);
    this.#lanes.change(this.#lanes.withId(laneId)).letters--;
    this.#lanes.letters--;
  }

  #letter(row: LetterRow): PackedLetter {
    const lane = this.#lanes.withId(row.lane).name;
    return {
      id: row.id,
      lane,
      reason: row.reason,
      attempt: row.attempt,
      text: legible(row.id, lane, row),
      bodyBytes: row.bytes,
      errors: this.#records.errorsOf(row.seq),
      diedAt: row.died_at,
    };
  }

  /** Undefined when the lane does not exist, so that nothing fits. */
  #parameters({ lane, reason }: DeadLetterFilter): Record<string, SQLInputValue> | undefined {
    const known = lane === undefined ? undefined : this.#lanes.named(lane);
    if (lane !== undefined && !known) return undefined;
    return { lane: known?.id ?? null, reason: reason ?? null };
  }
}
