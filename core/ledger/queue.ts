import { randomUUID } from 'node:crypto';
import { sleep, within } from '../contracts/clock.ts';
import type { PluginHost } from '../contracts/definition.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import type { Durability } from '../contracts/invocation.ts';
import type { JournalSet } from '../contracts/journal.ts';
import type {
  CancelResult,
  DeadLetters,
  Disposition,
  EnqueueResult,
  LaneStats,
  Lease,
  LeaseOptions,
  MessageRecord,
  NewMessage,
  Queue,
  Receipt,
  SettleResult,
} from '../contracts/queue.ts';
import { failpoint, planted } from '../delivery/failpoint.ts';
import { Bodies } from './bodies.ts';
import { Contents } from './contents.ts';
import { LedgerDeadLetters } from './dead-letters.ts';
import { Keeper, type Keeping, usualKeeping } from './keeper.ts';
import type { LedgerFaults } from './messages.ts';
import { whole } from './packing.ts';
import { Pulse } from './pulse.ts';
import { RecordReader } from './record-reader.ts';
import type { Entry, Given, LedgerSettings } from './records.ts';
import { Replica } from './replica.ts';
import { Snapshots } from './snapshots.ts';
import { ledgerFormat } from './state.ts';
import { Waiters } from './waiters.ts';
import { Writer } from './writer.ts';

export interface LedgerOptions {
  readonly host: PluginHost;
  readonly settings: LedgerSettings;
  /** A name of this gateway alone: what its predecessor of that name had leased is given again at once. */
  readonly instance?: string | undefined;
  readonly keeping?: Keeping;
  /** So long is an entry sent again whose fate is not known. */
  readonly patienceMs?: number;
  readonly faults?: LedgerFaults;
}

/** For the crash tests only: bugs that they must find. */
const acksEarly = planted('ack-before-commit');
const skipEpochCheck = planted('skip-epoch-check');

/** Records in one command, so that it fits into an entry. */
const recordsAtOnce = 200;
/** A queue on three journals; see README.md. */
export class LedgerQueue implements Queue {
  readonly deadLetters: DeadLetters;
  readonly #options: LedgerOptions;
  readonly #journals: JournalSet;
  readonly #replica: Replica;
  readonly #writer: Writer;
  readonly #keeper: Keeper;
  readonly #pulse: Pulse;
  readonly #contents: Contents;
  readonly #records: RecordReader;
  readonly #lanes = new Waiters();
  readonly #ends = new Waiters();
  readonly #stopping = new AbortController();
  #durability: Durability = 'memory';
  #broken: MillraceError | undefined;
  #warned = false;
  readonly #letters: { set(value: number): void };

  constructor(journals: JournalSet, options: LedgerOptions) {
    const { host, settings, keeping = usualKeeping, patienceMs = 10_000 } = options;
    const { clock, logger, metrics } = host;
    const faults = skipEpochCheck ? { skipEpochCheck } : (options.faults ?? {});
    this.#letters = metrics.gauge('dead_letters', 'Dead letters that are kept.');
    this.#options = options;
    this.#journals = journals;
    const bodies = new Bodies(journals.bodies);
    this.#contents = new Contents(bodies);
    const snapshots = new Snapshots(journals.snapshots);
    this.#replica = new Replica({
      commands: journals.commands,
      snapshots,
      settings,
      faults,
      clock,
      applied: (entry, answers, bytes) => this.#applied(entry, answers, bytes),
      filling: (upTo) => logger.warn({ upTo }, 'the broker has lost commands; a snapshot has what they came to'),
      foreign: (position) =>
        logger.error({ position }, 'what stands there in the log of the queue is none of its commands; it is left out'),
      reloaded: () => this.#wakeAll(),
      broken: (error) => this.#break(error),
    });
    const time = (): number => Math.max(clock.now(), this.#replica.time);
    this.#writer = new Writer({ session: randomUUID(), journal: journals.commands, clock, time, patienceMs });
    this.#pulse = new Pulse(this.#replica, this.#writer, clock);
    this.#keeper = new Keeper({
      replica: this.#replica,
      writer: this.#writer,
      snapshots,
      commands: journals.commands,
      bodies: journals.bodies,
      content: bodies,
      clock,
      keeping,
      failed: (error) => logger.warn({ err: error }, 'the journals were not shortened; trying again later'),
    });
    this.#records = new RecordReader(this.#replica, bodies);
    this.deadLetters = new LedgerDeadLetters({
      replica: this.#replica,
      bodies,
      writer: this.#writer,
      current: () => this.#current(),
    });
  }

  get durability(): Durability {
    return this.#durability;
  }

  async start(): Promise<void> {
    const { settings, instance, host } = this.#options;
    try {
      this.#durability = await this.#journals.open(this.#stopping.signal);
      await this.#replica.start(this.#stopping.signal);
      await this.#writer.submit({ do: 'open', format: ledgerFormat, instance, settings });
      this.#check();
    } catch (error) {
      this.#stopping.abort();
      await this.#journals.close();
      throw error;
    }
    const { messages } = this.#replica.state;
    this.#pulse.start();
    host.logger.info({ messages: messages.live.size, letters: messages.letters.size }, 'queue opened');
  }

  async enqueue(all: readonly NewMessage[]): Promise<EnqueueResult[]> {
    this.#check();
    const results: EnqueueResult[] = [];
    for (let at = 0; at < all.length; at += recordsAtOnce) {
      const some = all.slice(at, at + recordsAtOnce);
      const taken = this.#enqueue(some);
      if (acksEarly) {
        taken.catch(() => {});
        results.push(...some.map(({ id }) => ({ status: 'accepted', id }) as const));
      } else {
        results.push(...(await taken));
      }
    }
    return results;
  }

  async lease(lane: string, max: number, { ttlMs, waitMs, signal }: LeaseOptions): Promise<Lease[]> {
    this.#check();
    if (max <= 0) return [];
    const until = performance.now() + waitMs;
    while (!signal.aborted && !this.#broken) {
      // Asked for before the state is looked at, so that no change between the two is missed.
      const wait = this.#lanes.wait(lane, until - performance.now(), signal);
      try {
        const leases = this.#mayGive(lane) ? await this.#take(lane, max, ttlMs) : [];
        if (leases.length > 0) return leases;
        if (!(await wait.changed)) return [];
      } finally {
        wait.abandon();
      }
    }
    return [];
  }

  async extend({ id, epoch }: Receipt, ttlMs: number): Promise<SettleResult> {
    this.#check();
    return this.#writer.submit({ do: 'extend', id, epoch, ttlMs: whole('ttlMs', ttlMs) });
  }

  async settle(receipt: Receipt, disposition: Disposition): Promise<SettleResult> {
    this.#check();
    const { id, lane, epoch } = receipt;
    for (;;) {
      const verdict = await this.#contents.verdictOf(
        receipt,
        disposition,
        this.#replica.state.messages.leased(id, epoch),
      );
      if (verdict.as === 'dead') failpoint('queue.dead-letter');
      const answer = await this.#writer.submit({ do: 'settle', id, lane, epoch, verdict });
      if (answer === 'lost') continue;
      this.#contents.forget(receipt);
      return answer;
    }
  }

  async find(id: string): Promise<MessageRecord | undefined> {
    await this.#current();
    const record = await this.#records.find(id);
    if (record) return record;
    // Another gateway may have taken it a moment ago: what it said before this is here when this is.
    await this.#writer.submit({ do: 'tick' });
    return this.#records.find(id);
  }

  async finished(id: string, signal: AbortSignal): Promise<MessageRecord | undefined> {
    await this.#current();
    if (!this.#records.isKnown(id)) await this.#writer.submit({ do: 'tick' });
    while (this.#records.isLive(id)) {
      if (signal.aborted || this.#broken) return undefined;
      await this.#ends.wait(id, Infinity, signal).changed;
    }
    return this.#broken ? undefined : this.#records.find(id);
  }

  async cancel(id: string): Promise<CancelResult> {
    this.#check();
    return this.#writer.submit({ do: 'cancel', id });
  }

  async lanes(): Promise<LaneStats[]> {
    await this.#current();
    const { messages } = this.#replica.state;
    return [...messages.lanes.values()].map((lane) => lane.stats(this.#replica.time));
  }

  async pause(lane: string): Promise<void> {
    this.#check();
    await this.#writer.submit({ do: 'pause', lane, paused: true });
  }

  async resume(lane: string): Promise<void> {
    this.#check();
    await this.#writer.submit({ do: 'pause', lane, paused: false });
  }

  async stop(deadlineMs: number): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#pulse.stop();
    const stopped = new MillraceError('queue.unavailable', 'the queue has been stopped');
    this.#broken ??= stopped;
    const closed = this.#writer.submit({ do: 'close' }).catch((error: unknown) => {
      const { logger } = this.#options.host;
      logger.warn({ err: error }, 'the queue could not take its leave; its leases end by themselves');
    });
    this.#wakeAll();
    await within(Promise.all([closed, this.#keeper.idle()]), deadlineMs);
    this.#stopping.abort();
    this.#writer.close(stopped);
    await this.#journals.close();
  }

  async #take(lane: string, max: number, ttlMs: number): Promise<Lease[]> {
    const given = await this.#writer.submit({ do: 'lease', lane, max, ttlMs: whole('ttlMs', ttlMs) });
    const leases = await Promise.all(given.map((each) => this.#load(each, ttlMs)));
    return leases.filter((lease) => lease !== undefined);
  }

  async #enqueue(messages: readonly NewMessage[]): Promise<EnqueueResult[]> {
    for (;;) {
      const records = await this.#contents.put(messages);
      failpoint('queue.after-body');
      const answers = await this.#writer.submit({ do: 'enqueue', records });
      // Only after minutes between the two: the bodies are gone, so they are put again.
      if (!answers.includes('lost')) return answers as EnqueueResult[];
    }
  }

  /** Undefined when it cannot be run: then it is given back, or dead where its bytes are gone for good. */
  async #load(given: Given, ttlMs: number): Promise<Lease | undefined> {
    const { id, lane } = given.record;
    const receipt: Receipt = { id, lane, epoch: given.epoch };
    const deadline = performance.now() + ttlMs / 2;
    for (;;) {
      try {
        const message = await this.#contents.take(given);
        if (message) return { receipt, message, attempt: given.attempt };
        const error = { code: 'internal', message: 'its envelope and body are not on the broker any more' };
        await this.settle(receipt, { kind: 'dead', reason: 'unreadable', error });
        return undefined;
      } catch (error) {
        const { logger } = this.#options.host;
        if (performance.now() > deadline || !(await sleep(100, this.#stopping.signal))) {
          logger.warn({ err: error, id, lane }, 'a leased message could not be read; giving it back');
          await this.settle(receipt, { kind: 'retry', delayMs: 0, counted: false }).catch(() => {
            // Then the lease runs out by itself.
          });
          return undefined;
        }
      }
    }
  }

  #mayGive(name: string): boolean {
    const { messages } = this.#replica.state;
    const lane = messages.lanes.get(name);
    if (!lane || lane.paused) return false;
    return lane.ready > 0 || messages.agenda.next <= this.#replica.time;
  }

  /** What is due by now has happened. */
  async #current(): Promise<void> {
    this.#check();
    const { messages } = this.#replica.state;
    if (Math.min(messages.agenda.next, messages.chores.next) > this.#replica.time) return;
    await this.#writer.submit({ do: 'tick' });
  }

  #applied(entry: Entry, answers: readonly unknown[] | undefined, bytes: number): void {
    const { messages } = this.#replica.state;
    if (entry.session === this.#writer.session) {
      this.#pulse.said();
      const awaited = this.#writer.applied(entry.number, answers as never);
      if (!awaited && answers) this.#giveBack(answers);
      this.#keeper.observe(bytes);
    }
    for (const lane of messages.woken) this.#lanes.wake(lane);
    messages.woken.clear();
    for (const id of messages.ended.splice(0)) this.#ends.wake(id);
    this.#letters.set(messages.letters.size);
    this.#watchForgotten(messages.forgottenEarly);
    this.#pulse.arm();
  }

  /** Leases that nobody waits for any more, since the entry that asked for them was given up. */
  #giveBack(answers: readonly unknown[]): void {
    const given = answers.filter((answer) => Array.isArray(answer)).flat() as (Given | EnqueueResult)[];
    for (const each of given) {
      if (typeof each !== 'object' || !('epoch' in each)) continue;
      const receipt: Receipt = { id: each.record.id, lane: each.record.lane, epoch: each.epoch };
      this.settle(receipt, { kind: 'retry', delayMs: 0, counted: false }).catch(() => {
        // Then the lease runs out by itself.
      });
    }
  }

  #watchForgotten(count: number): void {
    if (count === 0 || this.#warned) return;
    this.#warned = true;
    const { maxEnded } = this.#options.settings;
    this.#options.host.logger.warn(
      { maxEnded },
      'more has ended than is remembered: the oldest is forgotten before its time',
    );
  }

  #wakeAll(): void {
    this.#lanes.wakeAll();
    this.#ends.wakeAll();
  }

  #break(error: Error): void {
    if (this.#stopping.signal.aborted || this.#broken) return;
    const code = error instanceof MillraceError ? error.code : 'queue.unavailable';
    this.#broken = new MillraceError(code, messageOf(error), { cause: error });
    this.#writer.close(this.#broken);
    this.#wakeAll();
    this.#options.host.fail(this.#broken);
  }

  #check(): void {
    if (this.#broken) throw this.#broken;
  }
}
