import { Observable } from '../kit/rxjs.ts';
import type { Logger } from 'pino';
import { type Clock, sleep } from '../contracts/clock.ts';
import { Delivery, type Linked, type Settlement, type Verdict } from '../contracts/delivery.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { InvocationState } from '../contracts/invocation.ts';
import type { Disposition, Lease, Queue, SettleResult, StoredResult } from '../contracts/queue.ts';
import { bytesOf } from '../kit/body.ts';
import { endToEnd } from '../kit/headers.ts';
import { isLinked, Ring, unlink } from '../kit/ring.ts';
import type { RecentInvocations } from '../observe/recent-invocations.ts';
import type { PacedCredit } from './credit.ts';
import { attemptErrorOf } from './effects.ts';
import { failpoint } from './failpoint.ts';
import { Lane } from './lane.ts';

/**
 * How long a lease lasts without an extension: so long does a dead gateway keep work from its peers, who have 20 s to take
 * it over.
 */
const leaseTtlMs = 15_000;
const waitMs = 20_000;
const retryPauseMs = { first: 100, last: 5000 } as const;

export interface LaneOptions {
  readonly queueName: string;
  readonly queue: Queue;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly recent: RecentInvocations;
  readonly resultBody: number;
  readonly stale: () => void;
}

interface ActiveLease extends Linked {
  readonly lease: Lease;
  readonly delivery: Delivery;
  readonly lane: Lane;
  /** Monotonic ms. */
  expiresAt: number;
  /** Monotonic ms; undefined while it waits for credit. */
  begunAt: number | undefined;
  isHandedBack: boolean;
}

/**
 * One queue as a source of deliveries: a leased message is a delivery whose settlement is the lease. Each lane has its
 * own credit, so that a slow function holds up nobody else; leases are extended for as long as their delivery lasts.
 */
export class LaneSource {
  readonly #options: LaneOptions;
  readonly #active = new Ring<ActiveLease>();
  readonly #taking = new Set<Promise<void>>();
  readonly #idle: (() => void)[] = [];
  #extending: NodeJS.Timeout | undefined;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** After every lane was unsubscribed from: resolves when the last lease has been settled. */
  async whenIdle(): Promise<void> {
    await Promise.all(this.#taking);
    if (this.#active.first) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Begins to extend leases. */
  start(): void {
    this.#extending = setInterval(() => void this.#extendAll(), leaseTtlMs / 3);
  }

  stop(): void {
    clearInterval(this.#extending);
  }

  /**
   * Work of one lane: as many deliveries at once as the credit allows, and no more than as many again whose verdict is on
   * its way to the queue. Unsubscribing takes no more.
   */
  deliveries(lane: string, credit: PacedCredit): Observable<Delivery> {
    return new Observable((subscriber) => {
      const stop = new AbortController();
      const taking = this.#take(new Lane(lane, credit), stop.signal, (delivery) => subscriber.next(delivery));
      this.#taking.add(taking);
      void taking.then(() => this.#taking.delete(taking));
      return () => stop.abort();
    });
  }

  /** Stops what runs: its messages go back to the queue. */
  abort(): void {
    for (const delivery of this.running) delivery.abort('stopping');
  }

  /** What is leased. */
  get running(): readonly Delivery[] {
    return this.#active.items.map(({ delivery }) => delivery);
  }

  async #take(lane: Lane, signal: AbortSignal, emit: (delivery: Delivery) => void): Promise<void> {
    const requests = new Set<Promise<void>>();
    for (let wanted = await lane.room(signal); wanted > 0; wanted = await lane.room(signal)) {
      const request = this.#request(lane, wanted, signal, emit).finally(() => requests.delete(request));
      requests.add(request);
    }
    await Promise.all(requests);
  }

  /** Asks for that many, and begins them as there is credit. */
  async #request(lane: Lane, wanted: number, signal: AbortSignal, emit: (delivery: Delivery) => void): Promise<void> {
    const { clock } = this.#options;
    const leases = await this.#lease(lane, wanted, signal);
    if (leases.length > 0) failpoint('lease.before-dispatch');
    const expiresAt = clock.monotonic() + leaseTtlMs;
    for (const active of leases.map((lease) => this.#hold(lease, lane, expiresAt))) {
      const mayBegin = lane.credit.tryTake() || (await lane.credit.take(signal));
      // Once nobody listens, an emitted delivery would vanish with its lease.
      if (mayBegin && !signal.aborted && !active.isHandedBack) {
        lane.taken();
        active.begunAt = clock.monotonic();
        emit(active.delivery);
      } else {
        if (mayBegin) lane.credit.giveBack();
        await this.#handBack(active);
      }
    }
  }

  async #lease(lane: Lane, wanted: number, signal: AbortSignal): Promise<readonly Lease[]> {
    const { queue, clock, logger, queueName } = this.#options;
    const isOnly = lane.asking(wanted);
    const askedAt = clock.monotonic();
    let leases: readonly Lease[] = [];
    try {
      leases = await queue.lease(lane.name, wanted, { ttlMs: leaseTtlMs, waitMs: isOnly ? waitMs : 0, signal });
      lane.pauseMs = 0;
    } catch (error) {
      logger.warn({ err: error, queue: queueName, lane: lane.name }, 'the queue gave no work; asking again');
      lane.pauseMs = Math.min(Math.max(lane.pauseMs * 2, retryPauseMs.first), retryPauseMs.last);
      await sleep(lane.pauseMs, signal);
    }
    lane.answered(wanted, leases.length, clock.monotonic() - askedAt);
    return leases;
  }

  /** As if it had never been leased. */
  async #handBack(active: ActiveLease): Promise<void> {
    if (active.isHandedBack) return;
    active.isHandedBack = true;
    active.lane.taken();
    const { queue, logger, queueName } = this.#options;
    const { receipt } = active.lease;
    await queue.settle(receipt, { kind: 'retry', delayMs: 0, counted: false }).catch((error: unknown) => {
      logger.warn(
        { err: error, queue: queueName, id: receipt.id },
        'a lease was not handed back; it runs out by itself',
      );
    });
    this.#forget(active);
  }

  /** What was leased, as a delivery that has not begun. */
  #hold(lease: Lease, lane: Lane, expiresAt: number): ActiveLease {
    const { queueName, recent } = this.#options;
    const { message } = lease;
    const settlement: Settlement = {
      kind: 'settles',
      settle: (verdict) => this.#settle(active, verdict),
    };
    const { method, path, query, headers } = message.envelope;
    const request = { function: message.lane, method, path, query, headers, body: message.body, lease };
    const delivery = new Delivery(`queue:${queueName}`, request, settlement);
    delivery.credit = lane.credit;
    const active: ActiveLease = {
      lease,
      lane,
      delivery,
      expiresAt,
      begunAt: undefined,
      isHandedBack: false,
      previous: undefined,
      next: undefined,
    };
    this.#active.add(active);
    recent.seen(message.id, message.lane);
    return active;
  }

  #forget(active: ActiveLease): void {
    unlink(active);
    if (!this.#active.first) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Tells the queue what became of it, and lets go of it. */
  async #settle(active: ActiveLease, verdict: Verdict): Promise<void> {
    const { queue, clock, recent, resultBody } = this.#options;
    const { lane, delivery, lease } = active;
    pace(lane.credit, verdict, delivery, clock);
    const ended = lane.settling(delivery, clock.monotonic() - (active.begunAt ?? 0));
    try {
      const disposition = dispositionOf(verdict, resultBody);
      failpoint('settle.before');
      let result: SettleResult;
      try {
        result = await queue.settle(lease.receipt, disposition);
      } catch (error) {
        result = await this.#settleAgain(active, disposition, error);
      }
      failpoint('settle.after');
      const end = ends[verdict.kind];
      if (result === 'stale') this.#options.stale();
      else if (end) recent.ended(lease.message.id, end);
    } finally {
      lane.settled(ended);
      this.#forget(active);
    }
  }

  /** A settlement that the queue cannot take now is said again for as long as the lease is ours. */
  async #settleAgain(active: ActiveLease, disposition: Disposition, refusal: unknown): Promise<SettleResult> {
    const { queue, clock, logger, queueName } = this.#options;
    let error = refusal;
    for (let pauseMs: number = retryPauseMs.first; ; pauseMs = Math.min(pauseMs * 2, retryPauseMs.last)) {
      const mayPass = error instanceof MillraceError && error.code === 'queue.unavailable';
      if (!mayPass || clock.monotonic() + pauseMs >= active.expiresAt) throw error;
      logger.warn(
        { err: error, queue: queueName, id: active.lease.message.id },
        'a settlement was not taken; saying it again',
      );
      await sleep(pauseMs);
      try {
        return await queue.settle(active.lease.receipt, disposition);
      } catch (again) {
        error = again;
      }
    }
  }

  async #extendAll(): Promise<void> {
    const now = this.#options.clock.monotonic();
    const due = this.#active.items.filter(({ expiresAt }) => expiresAt - now < (leaseTtlMs * 2) / 3);
    await Promise.all(
      due.map((active) => (active.begunAt === undefined ? this.#giveUp(active) : this.#extend(active))),
    );
  }

  /** The function has become slow since it was asked for: others may be able to run it sooner. */
  async #giveUp(active: ActiveLease): Promise<void> {
    active.lane.waited(leaseTtlMs / 3);
    await this.#handBack(active);
  }

  async #extend(active: ActiveLease): Promise<void> {
    const { queue, clock, logger, queueName } = this.#options;
    try {
      const result = await queue.extend(active.lease.receipt, leaseTtlMs);
      if (result === 'settled') active.expiresAt = clock.monotonic() + leaseTtlMs;
      else if (isLinked(active)) active.delivery.abort('lease-lost');
    } catch (error) {
      logger.warn(
        { err: error, queue: queueName, id: active.lease.message.id },
        'a lease was not extended; trying again',
      );
    }
  }
}

/** A function that has enough for now is given less at once, however many it may have. */
function pace(credit: PacedCredit, verdict: Verdict, { startedAt }: Delivery, clock: Clock): void {
  if (verdict.kind === 'done') credit.succeeded();
  else if ('outcome' in verdict && verdict.outcome.status === 429 && verdict.outcome.failure === undefined) {
    credit.refused(startedAt, clock.monotonic());
  }
}

/** What an invocation is after a verdict that ends it. */
const ends: Readonly<Partial<Record<Verdict['kind'], InvocationState>>> = {
  done: 'succeeded',
  dead: 'dead',
  cancelled: 'cancelled',
};

function dispositionOf(verdict: Verdict, resultBody: number): Disposition {
  switch (verdict.kind) {
    case 'done':
      return { kind: 'ack', result: resultOf(verdict, resultBody), effects: verdict.effects };
    case 'dead':
      return {
        kind: 'dead',
        reason: verdict.reason,
        error: attemptErrorOf(verdict.outcome),
        result: resultOf(verdict, resultBody),
        effects: verdict.effects,
      };
    case 'retry':
      return {
        kind: 'retry',
        delayMs: verdict.delayMs,
        error: verdict.counted ? attemptErrorOf(verdict.outcome) : undefined,
        counted: verdict.counted,
      };
    case 'cancelled':
      return { kind: 'cancelled' };
    case 'accepted':
      throw new Error('work from a queue is never enqueued again');
  }
}

function resultOf({ outcome }: Extract<Verdict, { kind: 'done' | 'dead' }>, limit: number): StoredResult {
  const headers = endToEnd(outcome.headers);
  const body = bytesOf(outcome.body);
  if (body.byteLength <= limit) return { status: outcome.status, headers, body };
  return { status: outcome.status, headers: { ...headers, 'x-millrace-result': 'too-large' }, body: new Uint8Array(0) };
}
