import { createHash, randomUUID } from 'node:crypto';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import { sleep as systemSleep, within } from '../../core/contracts/clock.ts';
import type { Connector, ConnectorHealth, Credit, Triggered } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import { Delivery, type Verdict } from '../../core/contracts/delivery.ts';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import { finalStates } from '../../core/contracts/invocation.ts';
import { eventHeaders } from '../../core/kit/event.ts';
import { scheduleOf, type SlotConfig } from './config.ts';
import { type CronRecord, CronRecords } from './record.ts';
import type { Schedule } from './schedule.ts';

/** A slot that is this late is on time: the loop was busy, or a timer was. Older ones are for `catchUp` to judge. */
const onTimeMs = 10_000;

/** A refused slot is tried again for this long at least, however short the window. */
const leastRetryMs = 60_000;

/** Slots of one backfill. */
const maxBackfill = 10_000;

const firstBackoffMs = 500;
const maxBackoffMs = 30_000;

export type Sleep = (delayMs: number, signal: AbortSignal) => Promise<boolean>;

export interface CronOptions {
  /** What its slots and its record are called; the connector's name without it. */
  readonly id?: string | undefined;
  /** What functions see as their topic; the connector's name without it. */
  readonly topic?: string | undefined;
  /** For tests. */
  readonly sleep?: Sleep | undefined;
}

/**
 * Fires slot after slot. A slot's fire is an enqueue whose dedup key is the slot, so that it runs once whoever fires it
 * and however often: replicas need no leader, and a crash between the enqueue and the record costs nothing. The record
 * in the store says where to go on after a restart, and saves replicas work.
 */
export class CronConnector implements Connector {
  readonly #config: SlotConfig;
  readonly #host: ConnectorHost;
  readonly #id: string;
  readonly #topic: string;
  readonly #schedule: Schedule;
  readonly #sleep: Sleep;
  readonly #counters;
  readonly #stop = new AbortController();
  #records: CronRecords | undefined;
  /** As far as this replica knows it; the store may know more. */
  #record: CronRecord | undefined;
  /** Slots up to here have been dealt with. */
  #cursor = Number.NaN;
  #lastError: string | undefined;
  #loop: Promise<void> | undefined;
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;

  constructor(config: SlotConfig, host: ConnectorHost, { sleep = systemSleep, id, topic }: CronOptions = {}) {
    this.#config = config;
    this.#host = host;
    this.#id = id ?? host.name;
    this.#topic = topic ?? host.name;
    this.#schedule = scheduleOf(config);
    this.#sleep = sleep;
    const { metrics } = host;
    this.#counters = {
      fired: metrics.counter('fired_total', 'Slots that were enqueued, or found to have been.'),
      skipped: metrics.counter('skipped_total', 'Slots passed over because the invocation before had not finished.'),
      missed: metrics.counter('missed_total', 'Slots that were missed and not made up for.'),
      refused: metrics.counter('refused_total', 'Attempts to enqueue a slot that were refused.'),
      lost: metrics.counter('lost_total', 'Slots that could not be enqueued within their window.'),
    };
  }

  async start(): Promise<void> {
    const { schedule, timeZone } = this.#config;
    this.#records = new CronRecords(this.#host.store(), this.#id, `${schedule} ${timeZone}`);
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      this.#out = { subscriber, credit };
      this.#loop = this.#run().catch((error: unknown) => subscriber.error(error));
      return () => this.#stop.abort();
    });
  }

  health(): ConnectorHealth {
    const state = this.#stop.signal.aborted || !this.#loop ? 'stopped' : 'running';
    return { state, lastError: this.#lastError, reconnects: 0 };
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stop.abort();
    await within(this.#loop, deadlineMs);
  }

  async trigger(slots?: { readonly from: number; readonly to: number }): Promise<Triggered[]> {
    if (!slots) return [await this.#ask(this.#host.clock.now(), `cron:${this.#id}:trigger:${randomUUID()}`)];
    const times: number[] = [];
    for (let slot = this.#schedule.next(slots.from - 1); slot !== undefined && slot <= slots.to;) {
      if (times.push(slot) > maxBackfill) {
        const message = `there are more than ${maxBackfill} slots from ${iso(slots.from)} to ${iso(slots.to)}: ask for fewer`;
        throw new MillraceError('request.invalid', message);
      }
      slot = this.#schedule.next(slot);
    }
    const triggered: Triggered[] = [];
    for (const slot of times) triggered.push(await this.#ask(slot, this.#idOf(slot)));
    return triggered;
  }

  /** Somebody waits to hear how it went, so nothing is tried again. */
  async #ask(at: number, id: string): Promise<Triggered> {
    const verdict = await this.#deliver(at, id);
    if (verdict?.kind === 'accepted') return { id: verdict.accepted.id, duplicate: verdict.accepted.duplicate, at };
    const { error, retryAfterSeconds } = verdict?.outcome ?? {};
    throw new MillraceError(
      error?.code ?? 'gateway.stopping',
      `slot ${iso(at)} was not accepted: ${error?.message ?? 'the gateway is shutting down'}`,
      retryAfterSeconds === undefined ? {} : { retryAfterSeconds },
    );
  }

  async #run(): Promise<void> {
    const { clock } = this.#host;
    const { signal } = this.#stop;
    const began = clock.now();
    // Without its record it does not know where to go on; a store that is away for a moment must not cost slots.
    await this.#insist(async (records) => {
      this.#record = (await records.read()) ?? (await records.advance(began, undefined));
      return true;
    });
    this.#cursor = this.#record?.lastSlot ?? began;
    while (!signal.aborted) {
      const slot = this.#schedule.next(this.#cursor);
      const dueInMs = slot === undefined ? Infinity : slot + this.#jitterMs(slot) - clock.now();
      if (slot === undefined || dueInMs > 0) await this.#wait(dueInMs);
      else if (dueInMs < -onTimeMs && this.#passOver()) continue;
      else await this.#fire(slot);
    }
  }

  /** In steps, because the wall clock may jump and a slot comes near at once. */
  #wait(dueInMs: number): Promise<boolean> {
    return this.#sleep(dueInMs > 60_000 ? 30_000 : Math.min(dueInMs, 1000), this.#stop.signal);
  }

  /** Moves on beyond the slots that were missed and are not to be made up for; false when there are none. */
  #passOver(): boolean {
    const { mode, window } = this.#config.catchUp;
    const now = this.#host.clock.now();
    let until = now - window - 1;
    if (mode === 'none') until = now - onTimeMs - this.#config.jitter;
    else if (mode === 'latest') until = Math.max(until, (this.#schedule.last(this.#cursor, now) ?? 0) - 1);
    const first = this.#schedule.next(this.#cursor);
    if (first === undefined || first > until) return false;
    let count = 0;
    // Of millions, it is enough to know that there were many.
    for (let slot: number | undefined = first; slot !== undefined && slot <= until && count < 10_000; count++) {
      slot = this.#schedule.next(slot);
    }
    this.#counters.missed.inc(count);
    this.#host.logger.warn({ count, from: iso(first), until: iso(until), mode }, 'slots were missed and do not fire');
    this.#cursor = until;
    return true;
  }

  /** Deals with one slot to its end: enqueued, skipped or, with a loud word, given up. */
  async #fire(slot: number): Promise<void> {
    let invocationId: string | undefined;
    const retryUntil = slot + Math.max(this.#config.catchUp.window, leastRetryMs, this.#jitterMs(slot) + leastRetryMs);
    const dealtWith = await this.#insist(async (records) => {
      const known = await records.read();
      if (known && known.lastSlot >= (this.#record?.lastSlot ?? 0)) this.#record = known;
      if (this.#record && this.#record.lastSlot >= slot) {
        invocationId = this.#record.lastInvocationId; // Another replica has dealt with it.
        return true;
      }
      if (await this.#mustSkip()) {
        this.#counters.skipped.inc();
        this.#host.logger.info({ slot: iso(slot) }, 'slot skipped: the invocation before it has not finished');
        invocationId = this.#record?.lastInvocationId;
        return true;
      }
      invocationId = await this.#enqueue(slot);
      if (invocationId !== undefined) this.#counters.fired.inc();
      return invocationId !== undefined;
    }, retryUntil);
    if (!dealtWith) {
      if (this.#stop.signal.aborted) return; // The next start, or another replica, goes on with it.
      this.#counters.lost.inc();
      this.#host.logger.error({ slot: iso(slot), reason: this.#lastError }, 'slot given up: its window has passed');
      this.#cursor = slot;
      return;
    }
    this.#cursor = slot;
    await this.#remember(slot, invocationId);
  }

  /** A record that cannot be written is no harm: the slot's dedup key holds without it. */
  async #remember(slot: number, invocationId: string | undefined): Promise<void> {
    const schedule = this.#record?.schedule ?? '';
    if (!this.#record || this.#record.lastSlot < slot) {
      this.#record = { lastSlot: slot, lastInvocationId: invocationId, schedule };
    }
    try {
      const written = await this.#records?.advance(slot, invocationId);
      if (written) this.#record = written;
    } catch (error) {
      this.#lastError = messageOf(error);
      this.#host.logger.warn({ err: error, slot: iso(slot) }, 'the record of a slot could not be written');
    }
  }

  /** Whether the invocation before forbids this one. */
  async #mustSkip(): Promise<boolean> {
    const { overlap } = this.#config;
    const previous = this.#record?.lastInvocationId;
    if (previous === undefined || overlap === 'allow' || overlap === 'bufferAll') return false;
    const { invocations } = this.#host;
    const state = (await invocations.find(previous))?.state;
    if (state === undefined || finalStates.has(state)) return false;
    if (overlap === 'skip') return true;
    if (overlap === 'bufferOne') return state === 'queued' || state === 'delayed';
    await invocations.cancel(previous);
    return false;
  }

  /** Undefined when it was refused, or everything is to stop. */
  async #enqueue(slot: number): Promise<string | undefined> {
    const verdict = await this.#deliver(slot, this.#idOf(slot));
    if (!verdict) return undefined;
    if (verdict.kind === 'accepted') {
      this.#lastError = undefined;
      return verdict.accepted.id;
    }
    this.#counters.refused.inc();
    const { error, status } = verdict.outcome;
    this.#lastError = error?.message ?? `status ${status}`;
    this.#host.logger.warn({ slot: iso(slot), code: error?.code, reason: this.#lastError }, 'slot was not enqueued');
    return undefined;
  }

  /** Undefined when everything is to stop. */
  async #deliver(slot: number, id: string): Promise<Verdict | undefined> {
    if (!this.#out || !(await this.#out.credit.take(this.#stop.signal))) return undefined;
    const { subscriber, credit } = this.#out;
    if (subscriber.closed) {
      credit.giveBack();
      return undefined;
    }
    const settled = Promise.withResolvers<Verdict>();
    const settlement = { kind: 'settles', settle: settled.resolve } as const;
    subscriber.next(new Delivery(this.#host.name, this.#request(slot, id), settlement));
    return settled.promise;
  }

  #idOf(slot: number): string {
    return `cron:${this.#id}:${iso(slot)}`;
  }

  #request(slot: number, slotId: string): Delivery['request'] {
    const { event, headers, overlap, priority, maxAge, catchUp } = this.#config;
    const { name, product } = this.#host;
    const ordered = overlap === 'bufferOne' || overlap === 'bufferAll';
    return {
      function: this.#config.function,
      method: this.#config.method,
      path: '',
      query: '',
      headers: {
        'user-agent': product,
        ...headers,
        ...(event.data !== undefined && { 'content-type': 'application/json' }),
        'x-connector': 'cron',
        'x-topic': this.#topic,
        ...eventHeaders({ id: slotId, connector: name, type: event.type, at: slot }),
      },
      body: event.data === undefined ? null : Buffer.from(JSON.stringify(event.data)),
      mode: 'async',
      options: {
        dedupKey: slotId,
        // Longer than any replica or restart could still come with this slot.
        dedupWindowMs: 2 * Math.max(catchUp.window, leastRetryMs) + this.#config.jitter + 3_600_000,
        ...(ordered && { orderKey: `cron:${this.#id}` }),
        ...(priority !== undefined && { priority }),
        ...(maxAge !== undefined && { maxAgeMs: maxAge }),
      },
    };
  }

  /** Tries until it says true, with growing pauses; false when the time is over or everything is to stop. */
  async #insist(attempt: (records: CronRecords) => Promise<boolean>, until = Infinity): Promise<boolean> {
    const { signal } = this.#stop;
    if (!this.#records) throw new Error('the connector was not started');
    for (let pauseMs = firstBackoffMs; !signal.aborted; pauseMs = Math.min(pauseMs * 2, maxBackoffMs)) {
      try {
        if (await attempt(this.#records)) return true;
      } catch (error) {
        this.#lastError = messageOf(error);
        this.#host.logger.warn({ err: error }, 'a slot could not be dealt with');
      }
      const waitMs = pauseMs * (0.5 + Math.random() / 2);
      if (this.#host.clock.now() + waitMs > until) return false;
      await this.#sleep(waitMs, signal);
    }
    return false;
  }

  /** Of the slot, not of chance: every replica waits equally long. */
  #jitterMs(slot: number): number {
    const { jitter } = this.#config;
    if (jitter === 0) return 0;
    const hash = createHash('sha256').update(`${this.#id} ${slot}`).digest().readUInt32BE(0);
    return Math.floor((hash / 2 ** 32) * jitter);
  }
}

function iso(instant: number): string {
  return new Date(instant).toISOString();
}
