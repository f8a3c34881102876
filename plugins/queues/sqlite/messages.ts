import type { DeadReason } from '../../../core/contracts/invocation.ts';
import type { CancelResult, EnqueueResult, History, SettleResult } from '../../../core/contracts/queue.ts';
import { failpoint, planted } from '../../../core/delivery/failpoint.ts';
import type { Lane, Lanes } from './lanes.ts';
import type { GivenError, PackedLease, PackedMessage, PackedResult, Settings, Settle } from './protocol.ts';
import { prepareMessages } from './statements.ts';
import { state } from './schema.ts';
import type { Step } from './step.ts';
import { isWhole, sumOf } from './sums.ts';

/** Of one lease request, read at once. */
const leaseRows = 64;
const leaseBytes = 32 * 2 ** 20;

/** A body of more than this is erased when its message ends; a smaller one goes with its record, which is cheaper. */
const keptBody = 512;

/** For the chaos kit only: bugs that it plants, to see that it finds them (test/chaos/mutants.ts). */
const skipsEpochCheck = planted('skip-epoch-check');
const endsTwice = planted('double-terminal');
const forgetsCrashes = planted('crash-not-counted');
const lettersLater = planted('letter-after-settlement');
const effectsFirst = planted('effects-before-settlement');
const dropsWhenFull = planted('drop-on-full');
const runsEarly = planted('delay-runs-early');
const cancelsRunning = planted('running-told-as-cancelled');

/** One that may end: leased, or about to be cancelled or to expire. */
export interface Unsettled {
  readonly seq: number;
  readonly id: string;
  readonly lane: Lane;
  readonly from: keyof typeof waiting;
  readonly orderKey: string | null;
  readonly bytes: number;
  readonly resultTtl: number;
  readonly attempt: number;
}

/** A lease. Its deadline is nowhere but here: when the process ends, all of its leases do. */
export interface Leased extends Unsettled {
  readonly from: 'leased';
  readonly epoch: number;
  readonly maxAttempts: number;
  readonly expires: number | null;
  attempt: number;
  deadline: number;
  cancel: boolean;
}

const waiting = { ready: state.ready, blocked: state.blocked, delayed: state.delayed, leased: state.leased } as const;
const names = ['ready', 'blocked', 'delayed', 'leased'] as const;

export interface Row {
  readonly seq: number;
  readonly id: string;
  readonly lane: number;
  readonly state: number;
  readonly due: number;
  readonly epoch: number;
  readonly attempt: number;
  readonly max_attempts: number;
  readonly order_key: string | null;
  readonly expires: number | null;
  readonly cancel: number | null;
  readonly result_ttl: number;
  readonly bytes: number;
}

interface FullRow extends Row {
  readonly text: string | null;
  readonly text_sum: number;
  readonly body_sum: number;
  readonly body: Uint8Array | null;
}

/** From acceptance to the end of each message. Runs in the transaction of the batch. */
export class Messages {
  readonly leases = new Map<string, Leased>();
  /** No lease runs out before this. */
  earliestDeadline = Infinity;
  readonly #step: Step;
  readonly #lanes: Lanes;
  readonly #settings: Settings;
  readonly #statements: ReturnType<typeof prepareMessages>;
  #sequence: number;
  #letter: number;

  constructor(step: Step, lanes: Lanes, settings: Settings) {
    this.#step = step;
    this.#lanes = lanes;
    this.#settings = settings;
    this.#statements = prepareMessages(step.database);
    const last = step.database
      .prepare(
        'SELECT coalesce((SELECT max(seq) FROM message), 0) seq, coalesce((SELECT max(number) FROM letter), 0) letter',
      )
      .get() as { seq: number; letter: number };
    this.#sequence = last.seq;
    this.#letter = last.letter;
  }

  enqueue(messages: readonly PackedMessage[]): EnqueueResult[] {
    return messages.map((message) => {
      const [id, laneName, , , , , , , , , , span, history] = message;
      const first = this.#firstOf(message);
      if (first !== undefined) return { status: 'duplicate', id: first };
      if (!history?.dead && this.#full(laneName, span[1] - span[0])) {
        if (dropsWhenFull) return { status: 'accepted', id };
        return this.#statements.exists.get(id) ? { status: 'duplicate', id } : { status: 'full', id };
      }
      return this.accept(message) ? { status: 'accepted', id } : { status: 'duplicate', id };
    });
  }

  /** Keeps the message, whatever the limits say; false if there is one of that id. */
  accept(message: PackedMessage, body: Uint8Array = this.#step.bytes(message[11])): boolean {
    const [id, laneName, text, priority, maxAttempts, orderKey, dedupKey, dedupWindowMs, delayMs, maxAgeMs, resultTtl] =
      message;
    const { now, soon } = this.#step;
    const { insert, insertContent, insertDedup, head } = this.#statements;
    const lane = this.#lanes.obtain(laneName, now);
    const due = delayMs > 0 && !runsEarly ? soon + Math.ceil(delayMs) : now;
    const blocked = orderKey !== null && head.get(lane.id, orderKey) !== undefined;
    const to = blocked ? 'blocked' : due > now ? 'delayed' : 'ready';
    const rank = due - priority * this.#settings.agingStepMs;
    const expires = maxAgeMs === null ? null : soon + Math.ceil(maxAgeMs);
    const seq = this.#sequence + 1;
    const bytes = body.byteLength;
    const { changes } = insert.run(
      seq,
      id,
      lane.id,
      waiting[to],
      rank,
      due,
      maxAttempts,
      Math.ceil(resultTtl),
      bytes,
      orderKey,
      expires,
    );
    if (changes === 0) return false;
    this.#sequence = seq;
    insertContent.run(seq, text, sumOf(id, laneName, text), sumOf(id, laneName, body), body);
    if (dedupKey !== null && dedupWindowMs > 0) insertDedup.run(lane.id, dedupKey, id, soon + Math.ceil(dedupWindowMs));
    const counts = this.#lanes.change(lane);
    counts.accepted++;
    counts[to]++;
    counts.bytes += bytes;
    this.#lanes.messages++;
    this.#lanes.bytes += bytes;
    const history = message[12];
    if (history)
      this.#carryOn({ seq, id, lane, from: to, orderKey, bytes, resultTtl, attempt: history.attempt }, history, due);
    return true;
  }

  lease(lane: Lane, max: number, ttlMs: number): PackedLease[] {
    const leases: PackedLease[] = [];
    let bytes = 0;
    // A round that met only what has expired is followed by another one, but not without end: a batch must be short.
    for (let round = 0; round < 8 && leases.length < max && bytes < leaseBytes; round++) {
      if (lane.paused || lane.counts.ready === 0) break;
      const rows = this.#statements.take.all(lane.id, Math.min(max - leases.length, leaseRows)) as unknown as FullRow[];
      for (const row of rows) {
        const lease = this.#leaseRow(row, lane, ttlMs);
        if (lease) leases.push(lease);
        bytes += row.bytes;
      }
    }
    return leases;
  }

  extend(id: string, epoch: number, ttlMs: number): SettleResult {
    const leased = this.#current(id, epoch);
    if (!leased) return 'stale';
    const { deadline } = leased;
    this.#step.onUndo(() => {
      leased.deadline = deadline;
      this.earliestDeadline = Math.min(this.earliestDeadline, deadline);
    });
    leased.deadline = this.#step.soon + ttlMs;
    this.earliestDeadline = Math.min(this.earliestDeadline, leased.deadline);
    return 'settled';
  }

  settle(settlement: Settle): SettleResult {
    if (effectsFirst) this.#takeEffects(settlement);
    const leased = this.#current(settlement.id, settlement.epoch);
    if (!leased) {
      const lane = this.#lanes.named(settlement.lane);
      if (lane) this.#lanes.change(lane).stale++;
      return 'stale';
    }
    this.#release(leased);
    switch (settlement.as) {
      case 'ack':
        this.end(leased, 'succeeded', undefined, settlement.result);
        break;
      case 'dead':
        this.addError(leased, settlement.error);
        this.end(leased, 'dead', settlement.reason, settlement.result);
        break;
      case 'cancelled':
        this.end(leased, 'cancelled');
        break;
      case 'retry':
        this.#retry(leased, settlement.delayMs, settlement.counted, settlement.error);
        break;
    }
    this.#takeEffects(settlement);
    return 'settled';
  }

  cancel(id: string): CancelResult {
    const leased = this.leases.get(id);
    if (leased) {
      if (cancelsRunning) return 'cancelled';
      if (leased.cancel) return 'running';
      this.#statements.flag.run(leased.seq);
      leased.cancel = true;
      this.#step.onUndo(() => (leased.cancel = false));
      return 'running';
    }
    const row = this.#statements.byId.get(id) as Row | undefined;
    if (!row) return 'unknown';
    if (row.state >= state.succeeded) return 'finished';
    this.end(this.unsettled(row), 'cancelled');
    return 'cancelled';
  }

  /** Whoever had the lease is taken for dead. The attempt has been counted already. */
  lapse(leased: Leased, message: string): void {
    this.#release(leased);
    this.addError(leased, { code: 'function.crashed', message });
    if (forgetsCrashes) leased.attempt--;
    if (leased.cancel) this.end(leased, 'cancelled');
    else if (leased.attempt >= leased.maxAttempts) this.end(leased, 'dead', 'crashed');
    else this.#again(leased, 0);
  }

  /** The delay is over. */
  promote(seq: number, lane: Lane): void {
    this.#statements.move.run(state.ready, seq);
    this.#count(lane, 'delayed', 'ready');
  }

  unsettled(row: Row): Unsettled {
    return {
      seq: row.seq,
      id: row.id,
      lane: this.#lanes.withId(row.lane),
      from: names[row.state] ?? 'ready',
      orderKey: row.order_key,
      bytes: row.bytes,
      resultTtl: row.result_ttl,
      attempt: row.attempt,
    };
  }

  /** The last step of every message, whatever became of it. Lets the next one of its order key go. */
  end(
    message: Unsettled,
    as: 'succeeded' | 'dead' | 'expired' | 'cancelled',
    reason?: DeadReason,
    result?: PackedResult,
  ): void {
    const { seq, id, lane, from, bytes, resultTtl, orderKey, attempt } = message;
    const { now, wall, soon } = this.#step;
    const { finish, eraseBody, insertResult, insertLetter } = this.#statements;
    const resultUntil = soon + resultTtl;
    const kept = reason === undefined ? resultTtl : Math.max(resultTtl, this.#settings.retentionMs);
    const until = soon + kept + this.#settings.tombstonesMs;
    finish.run(state[as], attempt, wall, resultUntil, until, reason ?? null, seq);
    const counts = this.#lanes.change(lane);
    if (result) {
      const [status, headers, span] = result;
      const body = this.#step.bytes(span);
      insertResult.run(seq, resultUntil, status, headers, sumOf(id, lane.name, headers, body), body);
    }
    if (reason !== undefined) {
      const number = ++this.#letter;
      const keep = (): void => {
        failpoint('queue.dead-letter');
        insertLetter.run(number, seq, lane.id, reason, now, wall);
      };
      if (lettersLater) setImmediate(keep);
      else keep();
      counts.letters++;
      this.#lanes.letters++;
    } else if (bytes > keptBody) {
      eraseBody.run(seq);
    }
    counts[from]--;
    counts[as]++;
    counts.bytes -= bytes;
    this.#lanes.messages--;
    this.#lanes.bytes -= bytes;
    if (this.#step.watched.has(id)) this.#step.ended.push(id);
    if (orderKey !== null) this.#releaseKey(lane, orderKey);
  }

  addError({ seq, attempt }: Unsettled, { code, message, status }: GivenError): void {
    this.#statements.insertError.run(seq, seq, attempt, this.#step.wall, code, message, status ?? null);
  }

  /** What the previous process had leased. */
  adopt(row: Row): Leased {
    return {
      ...this.unsettled(row),
      from: 'leased',
      epoch: row.epoch,
      maxAttempts: row.max_attempts,
      expires: row.expires,
      attempt: row.attempt,
      deadline: 0,
      cancel: row.cancel === 1,
    };
  }

  #takeEffects(settlement: Settle): void {
    if (settlement.as !== 'ack' && settlement.as !== 'dead') return;
    for (const effect of settlement.effects ?? []) if (this.#firstOf(effect) === undefined) this.accept(effect);
  }

  /** It was tried elsewhere before. */
  #carryOn(message: Unsettled, { error, dead }: History, due: number): void {
    this.addError(message, error);
    if (dead) this.end(message, 'dead', dead);
    else this.#statements.again.run(waiting[message.from], due, message.attempt, message.seq);
  }

  #firstOf([id, laneName, , , , , dedupKey]: PackedMessage): string | undefined {
    const lane = dedupKey === null ? undefined : this.#lanes.named(laneName);
    if (dedupKey === null || !lane) return undefined;
    const first = this.#statements.dedup.get(lane.id, dedupKey, this.#step.now) as { id: string } | undefined;
    return first && (this.#statements.exists.get(id) ? id : first.id);
  }

  #full(laneName: string, bytes: number): boolean {
    const { maxMessages, maxBytes, maxLaneMessages } = this.#settings;
    if (this.#lanes.messages >= maxMessages || this.#lanes.bytes + bytes > maxBytes) return true;
    const counts = this.#lanes.named(laneName)?.counts;
    if (maxLaneMessages === undefined || !counts) return false;
    return counts.ready + counts.blocked + counts.delayed + counts.leased >= maxLaneMessages;
  }

  #leaseRow(row: FullRow, lane: Lane, ttlMs: number): PackedLease | undefined {
    const { now, soon, wall } = this.#step;
    const { text, body } = row;
    if (row.expires !== null && row.expires <= now) {
      this.end(this.unsettled(row), 'expired', 'expired');
      return undefined;
    }
    const isReadable = (sum: number, part: string | Uint8Array): boolean => isWhole(sum, row.id, lane.name, part);
    if (text === null || body === null || !isReadable(row.text_sum, text) || !isReadable(row.body_sum, body)) {
      const damaged = this.unsettled(row);
      this.addError(damaged, {
        code: 'queue.unavailable',
        message: 'what was stored is damaged: its checksum is wrong',
      });
      this.end(damaged, 'dead', 'unreadable');
      return undefined;
    }
    const attempt = row.attempt + 1;
    const epoch = row.epoch + 1;
    this.#statements.lease.run(attempt, epoch, wall, row.seq);
    this.#count(lane, 'ready', 'leased');
    const { id } = row;
    this.leases.set(id, {
      seq: row.seq,
      id,
      lane,
      from: 'leased',
      orderKey: row.order_key,
      bytes: row.bytes,
      resultTtl: row.result_ttl,
      epoch,
      maxAttempts: row.max_attempts,
      expires: row.expires,
      attempt,
      deadline: soon + ttlMs,
      cancel: false,
    });
    this.#step.onUndo(() => this.leases.delete(id));
    this.earliestDeadline = Math.min(this.earliestDeadline, soon + ttlMs);
    return [id, epoch, attempt, text, body];
  }

  #current(id: string, epoch: number): Leased | undefined {
    const leased = this.leases.get(id);
    return leased?.epoch === epoch || skipsEpochCheck ? leased : undefined;
  }

  /** Ends the lease, not the message. */
  #release(leased: Leased): void {
    if (endsTwice) return;
    this.leases.delete(leased.id);
    const { attempt } = leased;
    this.#step.onUndo(() => {
      leased.attempt = attempt;
      this.leases.set(leased.id, leased);
      this.earliestDeadline = Math.min(this.earliestDeadline, leased.deadline);
    });
  }

  #retry(leased: Leased, delayMs: number, counted: boolean, error: GivenError | undefined): void {
    if (error) this.addError(leased, error);
    if (!counted) leased.attempt--;
    if (leased.cancel) {
      this.end(leased, 'cancelled');
      return;
    }
    if (counted) this.#lanes.change(leased.lane).retried++;
    this.#again(leased, delayMs);
  }

  #again(leased: Leased, delayMs: number): void {
    const { now, soon } = this.#step;
    const due = delayMs > 0 ? soon + Math.ceil(delayMs) : now;
    if (leased.expires !== null && due >= leased.expires) {
      this.end(leased, 'expired', 'expired');
      return;
    }
    const to = due > now ? 'delayed' : 'ready';
    this.#statements.again.run(waiting[to], due, leased.attempt, leased.seq);
    this.#count(leased.lane, 'leased', to);
  }

  /** The oldest one left of the key may go now, or when its own delay is over. */
  #releaseKey(lane: Lane, orderKey: string): void {
    const next = this.#statements.head.get(lane.id, orderKey) as
      | { seq: number; state: number; due: number }
      | undefined;
    if (next?.state !== state.blocked) return;
    const to = next.due > this.#step.now ? 'delayed' : 'ready';
    this.#statements.move.run(waiting[to], next.seq);
    this.#count(lane, 'blocked', to);
  }

  #count(lane: Lane, from: keyof typeof waiting, to: keyof typeof waiting): void {
    const counts = this.#lanes.change(lane);
    counts[from]--;
    counts[to]++;
  }
}
