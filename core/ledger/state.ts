import type { LaneStats } from '../contracts/queue.ts';
import { Messages, type LedgerFaults } from './messages.ts';
import { type PackedFinished, type PackedItem, packFinished, packItem, unpackFinished, unpackItem } from './packed.ts';
import type { Answer, Command, Entry, LedgerSettings, Letter, NewRecord, Ref } from './records.ts';
import { gapMs, Sessions, type DumpedSession } from './sessions.ts';

/** Of the rules of the state. Gateways of two formats would come to two states, so they do not share a ledger. */
export const ledgerFormat = 1;

/** One part of a dump; a state is loaded from all of them, in their order. */
export type DumpPart =
  | {
      readonly head: {
        readonly format: number;
        readonly position: number;
        readonly now: number;
        readonly settings: LedgerSettings;
        readonly sequence: number;
        readonly letterNumber: number;
        readonly trimmed: number;
        readonly sessions: readonly DumpedSession[];
        readonly lanes: readonly Pick<LaneStats, 'lane' | 'paused' | 'totals'>[];
      };
    }
  | { readonly live: readonly PackedItem[] }
  | { readonly finished: readonly PackedFinished[] }
  | { readonly letters: readonly Letter[] }
  | { readonly dedup: readonly (readonly [key: string, id: string, until: number])[] };

const partSize = 256;

/** What the entries of the commands journal come to. Deterministic: see `Messages`. */
export class LedgerState {
  readonly messages: Messages;
  readonly #faults: LedgerFaults;
  readonly #sessions = new Sessions();
  /** Of the last entry that was applied; -1 before the first one. */
  position = -1;
  /** Of the newest format that anyone has opened it with. */
  format = ledgerFormat;
  /** Bodies before this position are forgotten. */
  trimmed = 0;
  /** Bytes of commands since the last snapshot, and how large that was. */
  bytesSince = 0;
  snapshotBytes = 0;
  snapshotAt = -1;
  /** Bytes of bodies that had ever been referred to at the last trim. */
  usedAtTrim = 0;

  constructor(settings: LedgerSettings, faults: LedgerFaults = {}) {
    this.#faults = faults;
    this.messages = new Messages(settings, faults);
  }

  get now(): number {
    return this.messages.now;
  }

  /** Applies the entry of that position; returns what its commands answer, or undefined when the entry is void. */
  apply(position: number, at: number | undefined, bytes: number, entry: Entry): Answer[] | undefined {
    const { messages } = this;
    const before = messages.now;
    this.position = position;
    this.bytesSince += bytes;
    messages.now = Math.max(before, at ?? entry.at);
    const gap = messages.now - before;
    const dead = this.#sessions.advance(messages.now, gap);
    // Nobody could extend a lease while nobody could say anything.
    if (gap > gapMs) messages.postponeLeases(gap);
    const admitted = this.#sessions.admit(entry.session, entry.number, messages.now);
    for (const session of dead) messages.lapseAll(session);
    messages.catchUp();
    if (!admitted && !this.#faults.skipNumberCheck) return undefined;
    return entry.commands.map((command) => {
      const answer = this.#run(command, entry.session);
      // An extension by nothing, a lease of no time, a delay of none: what is due now is done before the next command.
      messages.catchUp();
      return answer;
    });
  }

  #run(command: Command, session: string): Answer {
    const { messages } = this;
    switch (command.do) {
      case 'open':
        this.format = Math.max(this.format, command.format);
        messages.settings = command.settings;
        for (const id of this.#sessions.open(session, command.instance, messages.now)) messages.lapseAll(id);
        return true;
      case 'close':
        this.#sessions.close(session);
        messages.lapseAll(session);
        return true;
      case 'tick':
        return true;
      case 'enqueue':
        return command.records.map((record) => (this.#isLost(record.ref) ? 'lost' : messages.enqueue(record)));
      case 'lease':
        return messages.take(command.lane, command.max, command.ttlMs, session);
      case 'extend': {
        const item = messages.leased(command.id, command.epoch);
        if (!item) return 'stale';
        messages.leaseFor(item, command.ttlMs);
        return 'settled';
      }
      case 'settle':
        return this.#settle(command);
      case 'cancel':
        return this.#cancel(command.id);
      case 'pause': {
        const lane = messages.lane(command.lane);
        lane.paused = command.paused;
        messages.woken.add(command.lane);
        return true;
      }
      case 'replay':
        return this.#replay(command.id, command.record);
      case 'purge':
        return messages.letters.purge(command.filter);
      case 'move':
        for (const move of command.moves) if (!this.#isLost(move.to)) messages.moveBytes(move);
        return true;
      case 'trim':
        // Whatever is in use stays: it may have been taken into use after the writer looked.
        this.trimmed = Math.max(this.trimmed, Math.min(command.before, messages.usage.oldest));
        this.usedAtTrim = messages.usage.everBytes;
        return true;
      case 'snapshot':
        if (command.position > this.snapshotAt) {
          this.snapshotAt = command.position;
          this.snapshotBytes = command.bytes;
          this.bytesSince = 0;
        }
        return true;
    }
  }

  #settle({ id, lane, epoch, verdict }: Extract<Command, { do: 'settle' }>): Answer {
    const item = this.messages.leased(id, epoch);
    if (!item) {
      this.messages.lane(lane).totals.stale++;
      return 'stale';
    }
    if (verdict.as === 'ack' || verdict.as === 'dead') {
      const refs = [verdict.result, ...(verdict.effects ?? []).map(({ ref }) => ref)];
      if (refs.some((ref) => ref && this.#isLost(ref))) return 'lost';
    }
    this.messages.settle(item, verdict);
    return 'settled';
  }

  #cancel(id: string): Answer {
    const item = this.messages.live.get(id);
    if (!item) return this.messages.finished.has(id) ? 'finished' : 'unknown';
    if (item.state === 'leased') {
      item.cancelRequested = true;
      return 'running';
    }
    this.messages.end(item, 'cancelled');
    return 'cancelled';
  }

  #replay(id: string, record: NewRecord): Answer {
    const { live, finished, letters } = this.messages;
    const existing = live.get(record.id)?.record ?? finished.get(record.id) ?? letters.get(record.id)?.record;
    if (existing) return existing.replayOf === id ? true : 'conflict';
    // Whoever asked saw no letter, and so put no bytes.
    if (!letters.get(id) || record.ref.length < 3) return false;
    if (this.#isLost(record.ref)) return 'lost';
    letters.remove(id);
    this.messages.accept(record);
    return true;
  }

  #isLost([, , ...positions]: Ref): boolean {
    return positions.some((position) => position < this.trimmed);
  }

  /** All of it, in small parts; nothing may be applied until the last one was taken. */
  *dump(): Generator<DumpPart> {
    const { messages } = this;
    const lanes = [...messages.lanes.values()].map(({ name, paused, totals }) => ({ lane: name, paused, totals }));
    yield {
      head: {
        format: this.format,
        position: this.position,
        now: messages.now,
        settings: messages.settings,
        sequence: messages.sequence,
        letterNumber: messages.letters.number,
        trimmed: this.trimmed,
        sessions: this.#sessions.dump(),
        lanes,
      },
    };
    for (const live of parts(messages.live.values())) yield { live: live.map(packItem) };
    for (const finished of parts(messages.finished.values())) yield { finished: finished.map(packFinished) };
    for (const letters of parts(messages.letters.values())) yield { letters };
    const dedup = messages.dedup.entries().map(([key, { id, until }]) => [key, id, until] as const);
    for (const part of parts(dedup)) yield { dedup: part };
  }

  /** Puts a part of a dump into a state that has only been made. */
  load(part: DumpPart): void {
    const { messages } = this;
    if ('head' in part) {
      const { head } = part;
      this.format = head.format;
      this.position = head.position;
      this.trimmed = head.trimmed;
      this.snapshotAt = head.position;
      messages.now = head.now;
      messages.settings = head.settings;
      messages.sequence = head.sequence;
      messages.letters.number = head.letterNumber;
      this.#sessions.load(head.sessions);
      for (const { lane: name, paused, totals } of head.lanes) {
        const lane = messages.lane(name);
        lane.paused = paused;
        Object.assign(lane.totals, totals);
      }
    } else if ('live' in part) for (const packed of part.live) messages.insert(unpackItem(packed));
    else if ('finished' in part) for (const packed of part.finished) messages.archive(unpackFinished(packed));
    else if ('letters' in part) for (const letter of part.letters) messages.keep(letter);
    else for (const [key, id, until] of part.dedup) messages.remember(key, id, until);
  }
}

function* parts<Value>(values: Iterable<Value>): Generator<Value[]> {
  let part: Value[] = [];
  for (const value of values) {
    part.push(value);
    if (part.length < partSize) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}
