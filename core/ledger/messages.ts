import type { DeadReason } from '../contracts/invocation.ts';
import type { AttemptError, EnqueueResult } from '../contracts/queue.ts';
import { Agenda, type AgendaEntry } from './agenda.ts';
import { LedgerLane } from './lane.ts';
import { Letters } from './letters.ts';
import type { End, Finished, Given, Item, LedgerSettings, Letter, Move, NewRecord, Ref, Verdict } from './records.ts';
import { Usage } from './usage.ts';

/** Bugs to plant, so that the contract suite can be seen to find them. */
export interface LedgerFaults {
  readonly skipEpochCheck?: boolean;
  /** An entry that comes a second time is applied a second time. */
  readonly skipNumberCheck?: boolean;
}

interface Ending {
  readonly reason?: DeadReason;
  readonly result?: Ref | undefined;
  readonly small?: string | undefined;
}

/**
 * What becomes of messages. Nothing here looks at a clock, a random number or the order of a `Set` that could differ
 * between two gateways: the same calls in the same order leave the same messages.
 */
export class Messages {
  settings: LedgerSettings;
  /** The ledger's time. */
  now = 0;
  readonly lanes = new Map<string, LedgerLane>();
  readonly live = new Map<string, Item>();
  readonly finished = new Map<string, Finished>();
  readonly dedup = new Map<string, { readonly id: string; readonly until: number }>();
  readonly usage = new Usage();
  readonly letters: Letters;
  /** What somebody may be waiting for. */
  readonly agenda: Agenda;
  /** What is to be forgotten: nobody waits for it, so that it can be done in large pieces. */
  readonly chores: Agenda;
  /** What each session has leased. */
  readonly held = new Map<string, Set<Item>>();
  sequence = 0;
  #bytes = 0;
  /** Lanes in which somebody may have become ready, and ids that have ended, since they were last asked for. */
  readonly woken = new Set<string>();
  readonly ended: string[] = [];
  /** Of what has ended, how many were forgotten before their time since this copy was made. */
  forgottenEarly = 0;
  readonly #faults: LedgerFaults;

  constructor(settings: LedgerSettings, faults: LedgerFaults) {
    this.settings = settings;
    this.#faults = faults;
    this.agenda = new Agenda((entry) => this.#holds(entry));
    this.chores = new Agenda((entry) => this.#holds(entry));
    this.letters = new Letters(this.usage, (name) => this.lane(name));
  }

  lane(name: string): LedgerLane {
    let lane = this.lanes.get(name);
    if (!lane) {
      lane = new LedgerLane(name);
      this.lanes.set(name, lane);
    }
    return lane;
  }

  /** Everything that is due by now. */
  catchUp(): void {
    for (const agenda of [this.agenda, this.chores]) {
      for (let entry = agenda.take(this.now); entry; entry = agenda.take(this.now)) this.#happen(entry);
    }
  }

  enqueue(record: NewRecord): EnqueueResult {
    const first = this.duplicateOf(record);
    if (first !== undefined) return { status: 'duplicate', id: first };
    if (!record.history?.dead && this.#full(record)) return { status: 'full', id: record.id };
    this.accept(record);
    return { status: 'accepted', id: record.id };
  }

  duplicateOf({ id, lane, dedupKey }: NewRecord): string | undefined {
    // A letter may be kept for longer than it is remembered how its message ended.
    if (this.live.has(id) || this.finished.has(id) || this.letters.get(id)) return id;
    if (dedupKey === undefined) return undefined;
    const first = this.dedup.get(dedupName(lane, dedupKey));
    return first && first.until > this.now ? first.id : undefined;
  }

  accept({ history, ...record }: NewRecord): void {
    const { now } = this;
    const due = now + (record.delayMs ?? 0);
    const item: Item = {
      record,
      ref: record.ref,
      sequence: this.sequence++,
      rank: due - record.priority * this.settings.agingStepMs,
      acceptedAt: now,
      state: 'blocked',
      due,
      readySince: now,
      expiresAt: record.maxAgeMs === undefined ? undefined : now + record.maxAgeMs,
      attempt: history?.attempt ?? 0,
      epoch: 0,
      leasedUntil: 0,
      holder: undefined,
      startedAt: undefined,
      cancelRequested: false,
      errors: [],
    };
    if (record.dedupKey !== undefined) {
      const until = now + (record.dedupWindowMs ?? 0);
      this.remember(dedupName(record.lane, record.dedupKey), record.id, until);
    }
    this.lane(record.lane).totals.accepted++;
    this.insert(item);
    if (history) this.#addError(item, history.error);
    if (history?.dead) this.end(item, 'dead', { reason: history.dead });
    else if (this.lane(record.lane).isHead(item)) this.#waitUntilDue(item);
  }

  /** Puts it in as it is. */
  insert(item: Item): void {
    this.live.set(item.record.id, item);
    this.#bytes += item.record.bytes;
    this.usage.retain(item.ref);
    this.lane(item.record.lane).add(item);
    const { id } = item.record;
    if (item.expiresAt !== undefined) this.agenda.add(item.expiresAt, 'expire', item.sequence, id);
    if (item.state === 'delayed') this.agenda.add(item.due, 'due', item.sequence, id);
    if (item.state === 'leased') {
      this.agenda.add(item.leasedUntil, 'lapse', item.sequence, id);
      this.#hold(item);
    }
  }

  remember(key: string, id: string, until: number): void {
    this.dedup.set(key, { id, until });
    this.chores.add(until, 'dedup', 0, key);
  }

  take(name: string, max: number, ttlMs: number, session: string): Given[] {
    const given: Given[] = [];
    const lane = this.lanes.get(name);
    if (!lane || lane.paused) return given;
    while (given.length < max) {
      const item = lane.next();
      if (!item) break;
      lane.move(item, 'leased');
      item.epoch++;
      item.attempt++;
      item.startedAt = this.now;
      item.holder = session;
      this.#hold(item);
      this.leaseFor(item, ttlMs);
      given.push({ record: item.record, ref: item.ref, epoch: item.epoch, attempt: item.attempt });
    }
    return given;
  }

  leaseFor(item: Item, ttlMs: number): void {
    item.leasedUntil = this.now + ttlMs;
    this.agenda.add(item.leasedUntil, 'lapse', item.sequence, item.record.id);
  }

  postponeLeases(ms: number): void {
    for (const items of this.held.values())
      for (const item of items) this.leaseFor(item, item.leasedUntil + ms - this.now);
  }

  /** The message, when that is its present lease. */
  leased(id: string, epoch: number): Item | undefined {
    const item = this.live.get(id);
    if (item?.state !== 'leased') return undefined;
    return item.epoch === epoch || this.#faults.skipEpochCheck ? item : undefined;
  }

  settle(item: Item, verdict: Verdict): void {
    switch (verdict.as) {
      case 'ack':
        this.end(item, 'succeeded', { result: verdict.result, small: verdict.small });
        break;
      case 'dead':
        this.#addError(item, verdict.error);
        this.end(item, 'dead', { reason: verdict.reason, result: verdict.result });
        break;
      case 'cancelled':
        this.end(item, 'cancelled');
        break;
      case 'retry':
        return this.#retry(item, verdict);
    }
    if (verdict.as === 'cancelled') return;
    for (const effect of verdict.effects ?? []) if (this.duplicateOf(effect) === undefined) this.accept(effect);
  }

  /** Whoever had them is dead. */
  lapseAll(session: string): void {
    const items = [...(this.held.get(session) ?? [])].toSorted((a, b) => a.sequence - b.sequence);
    for (const item of items) this.#lapse(item, 'the gateway ended during the attempt');
  }

  end(item: Item, state: End, { reason, result, small }: Ending = {}): void {
    const { record } = item;
    this.#letGo(item);
    const next = this.lane(record.lane).remove(item, state);
    this.live.delete(record.id);
    this.#bytes -= record.bytes;
    const finished: Finished = {
      id: record.id,
      lane: record.lane,
      callId: record.callId,
      sequence: item.sequence,
      state,
      attempt: item.attempt,
      acceptedAt: item.acceptedAt,
      startedAt: item.startedAt,
      finishedAt: this.now,
      errors: item.errors,
      reason,
      replayOf: record.replayOf,
      ref: result ?? item.ref,
      hasResult: result !== undefined,
      small,
      goneAt: this.now + record.resultTtlMs,
      forgetAt: this.now + record.resultTtlMs + this.settings.tombstonesMs,
    };
    this.archive(finished);
    if (reason) this.keep({ ...letterOf(item, reason, this.now), keptUntil: this.now + this.settings.retentionMs });
    this.usage.release(item.ref);
    this.ended.push(record.id);
    if (next) this.#waitUntilDue(next);
  }

  /** Puts it in as it is. */
  archive(finished: Finished): void {
    const { id, sequence, goneAt, forgetAt, ref } = finished;
    this.finished.set(id, finished);
    if (ref) {
      this.usage.retain(ref);
      this.chores.add(goneAt, 'gone', sequence, id);
    } else {
      this.chores.add(forgetAt, 'forget', sequence, id);
    }
    for (const oldest of this.finished.values()) {
      if (this.finished.size <= this.settings.maxEnded) break;
      if (oldest.ref) this.usage.release(oldest.ref);
      this.finished.delete(oldest.id);
      this.forgottenEarly++;
    }
  }

  /** Puts it in as it is. */
  keep(letter: Omit<Letter, 'number'> & { readonly number?: number }): void {
    this.letters.add(letter);
    this.chores.add(letter.keptUntil, 'letter', letter.sequence, letter.record.id);
  }

  /** The same bytes are somewhere else now. */
  moveBytes({ of, id, from, to }: Move): void {
    const owner = of === 'live' ? this.live.get(id) : of === 'finished' ? this.finished.get(id) : this.letters.get(id);
    if (!owner?.ref || owner.ref.join() !== from.join()) return;
    this.usage.retain(to);
    this.usage.release(owner.ref);
    owner.ref = to;
  }

  #retry(item: Item, { delayMs, error, counted }: Extract<Verdict, { as: 'retry' }>): void {
    if (error) this.#addError(item, error);
    if (!counted) item.attempt--;
    if (item.cancelRequested) return this.end(item, 'cancelled');
    if (counted) this.lane(item.record.lane).totals.retried++;
    this.#again(item, delayMs);
  }

  #again(item: Item, delayMs: number): void {
    const due = this.now + delayMs;
    if (item.expiresAt !== undefined && due >= item.expiresAt) return this.end(item, 'expired', { reason: 'expired' });
    this.#letGo(item);
    item.due = due;
    item.readySince = due;
    // While it was leased its entry was void, and may have been dropped.
    if (item.expiresAt !== undefined) this.agenda.add(item.expiresAt, 'expire', item.sequence, item.record.id);
    this.#waitUntilDue(item);
  }

  #lapse(item: Item, message: string): void {
    this.#addError(item, { code: 'function.crashed', message });
    if (item.cancelRequested) this.end(item, 'cancelled');
    else if (item.attempt >= item.record.maxAttempts) this.end(item, 'dead', { reason: 'crashed' });
    else this.#again(item, 0);
  }

  /** Ready now, or when its time has come. */
  #waitUntilDue(item: Item): void {
    const lane = this.lane(item.record.lane);
    if (item.due > this.now) {
      lane.move(item, 'delayed');
      this.agenda.add(item.due, 'due', item.sequence, item.record.id);
      return;
    }
    item.readySince = Math.max(item.due, item.readySince);
    lane.move(item, 'ready');
    this.woken.add(lane.name);
  }

  #full({ lane: name, bytes }: NewRecord): boolean {
    const { maxMessages, maxBytes, maxLaneMessages } = this.settings;
    return (
      this.live.size >= maxMessages ||
      this.#bytes + bytes > maxBytes ||
      (maxLaneMessages !== undefined && (this.lanes.get(name)?.size ?? 0) >= maxLaneMessages)
    );
  }

  #addError({ errors, attempt }: Item, error: Omit<AttemptError, 'attempt' | 'at'>): void {
    errors.push({ ...error, attempt, at: this.now });
  }

  #hold(item: Item): void {
    if (item.holder === undefined) return;
    const held = this.held.get(item.holder);
    if (held) held.add(item);
    else this.held.set(item.holder, new Set([item]));
  }

  #letGo(item: Item): void {
    if (item.holder === undefined) return;
    const held = this.held.get(item.holder);
    held?.delete(item);
    if (held?.size === 0) this.held.delete(item.holder);
    item.holder = undefined;
  }

  #holds({ at, kind, key }: AgendaEntry): boolean {
    const item = this.live.get(key);
    switch (kind) {
      case 'lapse':
        return item?.state === 'leased' && item.leasedUntil === at;
      // A running attempt may still succeed; if it asks to be repeated it is too late.
      case 'expire':
        return item !== undefined && item.state !== 'leased';
      case 'due':
        return item?.state === 'delayed' && item.due === at;
      case 'gone': {
        const finished = this.finished.get(key);
        return finished?.ref !== undefined && finished.goneAt === at;
      }
      case 'forget':
        return this.finished.get(key)?.forgetAt === at;
      case 'letter':
        return this.letters.get(key)?.keptUntil === at;
      case 'dedup':
        return this.dedup.get(key)?.until === at;
    }
  }

  #happen({ kind, key }: AgendaEntry): void {
    const item = this.live.get(key);
    const finished = this.finished.get(key);
    if (kind === 'lapse' && item) this.#lapse(item, 'the lease ran out before the attempt had ended');
    else if (kind === 'expire' && item) this.end(item, 'expired', { reason: 'expired' });
    else if (kind === 'due' && item) {
      item.readySince = item.due;
      this.#waitUntilDue(item);
    } else if (kind === 'gone' && finished?.ref) {
      this.usage.release(finished.ref);
      finished.ref = undefined;
      finished.small = undefined;
      this.chores.add(finished.forgetAt, 'forget', finished.sequence, key);
    } else if (kind === 'forget') this.finished.delete(key);
    else if (kind === 'letter') this.letters.remove(key);
    else if (kind === 'dedup') this.dedup.delete(key);
  }
}

function letterOf(item: Item, reason: DeadReason, diedAt: number): Omit<Letter, 'number' | 'keptUntil'> {
  const { record, ref, sequence, attempt, errors } = item;
  return { record, ref, sequence, reason, attempt, errors, diedAt };
}

export function dedupName(lane: string, dedupKey: string): string {
  return `${lane}\u0000${dedupKey}`;
}
