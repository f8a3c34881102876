import type { DatabaseSync } from 'node:sqlite';
import type { Lanes } from './lanes.ts';
import type { Letters } from './letters.ts';
import type { Messages, Row } from './messages.ts';
import type { Settings } from './protocol.ts';
import type { Step } from './step.ts';

/** At most so many of each kind in one batch, which must stay short; what is left is next. */
const promotions = 1000;
const expirations = 500;
const sweeps = 200;
/** Between two sweeps while one was not enough, while there is work, and while there is none. */
const sweepMs = { behind: 10, busy: 1000, idle: 30_000 } as const;

// oxlint-disable-next-line typescript/explicit-module-boundary-types
function prepare(database: DatabaseSync) {
  return {
    delayed: database.prepare(
      'SELECT seq, lane FROM message INDEXED BY message_delayed WHERE state = 2 AND due <= ? ORDER BY due LIMIT ?',
    ),
    nextDelayed: database.prepare('SELECT min(due) AS due FROM message INDEXED BY message_delayed WHERE state = 2'),
    expiring: database.prepare(
      `SELECT * FROM message INDEXED BY message_expiring
       WHERE expires IS NOT NULL AND state < 3 AND expires <= ? ORDER BY expires LIMIT ?`,
    ),
    nextExpiring: database.prepare(
      `SELECT min(expires) AS due FROM message INDEXED BY message_expiring WHERE expires IS NOT NULL AND state < 3`,
    ),
    leased: database.prepare('SELECT * FROM message INDEXED BY message_leased WHERE state = 3'),
    results: database.prepare(
      'DELETE FROM result WHERE seq IN (SELECT seq FROM result WHERE until <= ? ORDER BY until LIMIT ?)',
    ),
    dedup: database.prepare(
      `DELETE FROM dedup WHERE (lane, key) IN (SELECT lane, key FROM dedup WHERE until <= ? ORDER BY until LIMIT ?)`,
    ),
    letters: database.prepare('SELECT seq, lane, died FROM letter ORDER BY number LIMIT ?'),
    ended: database.prepare(
      'SELECT seq, lane FROM message WHERE until IS NOT NULL AND until <= ? ORDER BY until LIMIT ?',
    ),
    removeMessage: database.prepare('DELETE FROM message WHERE seq = ?'),
    removeContent: database.prepare('DELETE FROM content WHERE seq = ?'),
    removeResult: database.prepare('DELETE FROM result WHERE seq = ?'),
    removeErrors: database.prepare('DELETE FROM attempt_error WHERE seq = ?'),
  };
}

interface Place {
  readonly seq: number;
  readonly lane: number;
}

/** Everything that happens because time has passed. */
export class Due {
  readonly #step: Step;
  readonly #lanes: Lanes;
  readonly #messages: Messages;
  readonly #letters: Letters;
  readonly #settings: Settings;
  readonly #statements: ReturnType<typeof prepare>;
  #nextSweep = 0;
  #idleSweep = 0;

  constructor(step: Step, lanes: Lanes, messages: Messages, letters: Letters, settings: Settings) {
    this.#step = step;
    this.#lanes = lanes;
    this.#messages = messages;
    this.#letters = letters;
    this.#settings = settings;
    this.#statements = prepare(step.database);
  }

  /** At the beginning of a batch: every operation sees what is due by its time as done. */
  run(): void {
    this.#lapse();
    this.#expire();
    this.#promote();
    this.#sweep();
  }

  /** The queue time at which there is something to do. */
  next(): number {
    const delayed = this.#statements.nextDelayed.get() as { due: number | null };
    const expiring = this.#statements.nextExpiring.get() as { due: number | null };
    return Math.min(
      delayed.due ?? Infinity,
      expiring.due ?? Infinity,
      this.#messages.earliestDeadline,
      this.#idleSweep,
    );
  }

  /** The exclusive lock proves that the process which had these leases is dead. */
  recover(): number {
    const rows = this.#statements.leased.all() as unknown as Row[];
    for (const row of rows) this.#messages.lapse(this.#messages.adopt(row), 'the gateway ended during the attempt');
    // Undoing a lapse keeps the lease; here there is none to keep.
    this.#messages.leases.clear();
    return rows.length;
  }

  #lapse(): void {
    const { now } = this.#step;
    if (this.#messages.earliestDeadline > now) return;
    let earliest = Infinity;
    for (const leased of this.#messages.leases.values()) {
      if (leased.deadline <= now) this.#messages.lapse(leased, 'the lease ran out before the attempt had ended');
      else earliest = Math.min(earliest, leased.deadline);
    }
    this.#messages.earliestDeadline = earliest;
  }

  #expire(): void {
    const rows = this.#statements.expiring.all(this.#step.now, expirations) as unknown as Row[];
    for (const row of rows) this.#messages.end(this.#messages.unsettled(row), 'expired', 'expired');
  }

  #promote(): void {
    const rows = this.#statements.delayed.all(this.#step.now, promotions) as unknown as Place[];
    for (const { seq, lane } of rows) this.#messages.promote(seq, this.#lanes.withId(lane));
  }

  #sweep(): void {
    const { now } = this.#step;
    if (now < this.#nextSweep) return;
    const { results, dedup } = this.#statements;
    const removed = Math.max(
      Number(results.run(now, sweeps).changes),
      Number(dedup.run(now, sweeps).changes),
      this.#sweepLetters(),
      this.#sweepMessages(),
    );
    this.#nextSweep = now + (removed < sweeps ? sweepMs.busy : sweepMs.behind);
    this.#idleSweep = now + (removed < sweeps ? sweepMs.idle : sweepMs.behind);
  }

  #sweepLetters(): number {
    const rows = this.#statements.letters.all(sweeps) as unknown as (Place & { died: number })[];
    const old = rows.filter(({ died }) => died + this.#settings.retentionMs <= this.#step.now);
    for (const { seq, lane } of old) this.#letters.remove(seq, lane);
    return old.length;
  }

  #sweepMessages(): number {
    const rows = this.#statements.ended.all(this.#step.now, sweeps) as unknown as Place[];
    const { removeMessage, removeContent, removeResult, removeErrors } = this.#statements;
    for (const { seq, lane } of rows) {
      this.#letters.remove(seq, lane);
      removeMessage.run(seq);
      removeContent.run(seq);
      removeResult.run(seq);
      removeErrors.run(seq);
    }
    return rows.length;
  }
}
