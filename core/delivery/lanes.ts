import { Observable } from 'rxjs';
import type { Logger } from 'pino';
import { type Clock, sleep } from '../contracts/clock.ts';
import { Delivery, type Settlement, type Verdict } from '../contracts/delivery.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Disposition, Lease, Queue, SettleResult, StoredResult } from '../contracts/queue.ts';
import { bytesOf } from '../kit/body.ts';
import { endToEnd } from '../kit/headers.ts';
import type { PacedCredit } from './credit.ts';
import { attemptErrorOf } from './effects.ts';
import { failpoint } from './failpoint.ts';

/**
 * How long a lease lasts without an extension: so long does a dead gateway keep work from its peers, who have 20 s to take
 * it over.
 */
const leaseTtlMs = 15_000;
const waitMs = 20_000;
/** At most so many of a lane in one request, so that one answer of the queue stays small. */
const batch = 64;
const retryPauseMs = { first: 100, last: 5000 } as const;

export interface LaneOptions {
  readonly queueName: string;
  readonly queue: Queue;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Leases that run, by invocation id: cancelling looks here. */
  readonly running: Map<string, Delivery>;
  readonly resultBody: number;
  readonly stale: () => void;
}

interface ActiveLease {
  readonly lease: Lease;
  readonly delivery: Delivery;
  /** Monotonic ms. */
  expiresAt: number;
}

/**
 * One queue as a source of deliveries: a leased message is a delivery whose settlement is the lease. Each lane has its
 * own credit, so that a slow function holds up nobody else; leases are extended for as long as their delivery lasts.
 */
export class LaneSource {
  readonly #options: LaneOptions;
  readonly #active = new Set<ActiveLease>();
  readonly #taking = new Set<Promise<void>>();
  readonly #idle: (() => void)[] = [];
  #extending: NodeJS.Timeout | undefined;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** After every lane was unsubscribed from: resolves when the last lease has been settled. */
  async whenIdle(): Promise<void> {
    await Promise.all(this.#taking);
    if (this.#active.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
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
    for (const { delivery } of this.#active) delivery.abort('stopping');
  }

  async #take(lane: Lane, signal: AbortSignal, emit: (delivery: Delivery) => void): Promise<void> {
    const { queue, logger, queueName } = this.#options;
    const { name, credit } = lane;
    let pauseMs: number = retryPauseMs.first;
    while (await credit.take(signal)) {
      let wanted = 1;
      while (wanted < batch && credit.tryTake()) wanted++;
      let leases: readonly Lease[] = [];
      try {
        leases = await queue.lease(name, wanted, { ttlMs: leaseTtlMs, waitMs, signal });
        pauseMs = retryPauseMs.first;
      } catch (error) {
        logger.warn({ err: error, queue: queueName, lane: name }, 'the queue gave no work; asking again');
        await sleep(pauseMs, signal);
        pauseMs = Math.min(pauseMs * 2, retryPauseMs.last);
      }
      for (let unused = wanted - leases.length; unused > 0; unused--) credit.giveBack();
      if (leases.length > 0) failpoint('lease.before-dispatch');
      for (const lease of leases) {
        // Once nobody listens, an emitted delivery would vanish with its lease.
        if (signal.aborted) await this.#handBack(lease, credit);
        else emit(this.#delivery(lease, lane));
      }
    }
  }

  async #handBack({ receipt }: Lease, credit: PacedCredit): Promise<void> {
    const { queue, logger, queueName } = this.#options;
    credit.giveBack();
    await queue.settle(receipt, { kind: 'retry', delayMs: 0, counted: false }).catch((error: unknown) => {
      logger.warn(
        { err: error, queue: queueName, id: receipt.id },
        'a lease was not handed back; it runs out by itself',
      );
    });
  }

  #delivery(lease: Lease, lane: Lane): Delivery {
    const { clock, queueName, running } = this.#options;
    const { message } = lease;
    const settlement: Settlement = {
      kind: 'settles',
      settle: async (verdict) => {
        pace(lane.credit, verdict, delivery, clock);
        lane.settling(delivery);
        try {
          if ((await this.#settle(active, verdict)) === 'stale') this.#options.stale();
        } finally {
          lane.settled(delivery);
          running.delete(message.id);
          this.#active.delete(active);
          if (this.#active.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
        }
      },
    };
    const { method, path, query, headers } = message.envelope;
    const request = { function: message.lane, method, path, query, headers, body: message.body, lease };
    const delivery = new Delivery(`queue:${queueName}`, request, settlement);
    delivery.credit = lane.credit;
    const active: ActiveLease = { lease, delivery, expiresAt: clock.monotonic() + leaseTtlMs };
    this.#active.add(active);
    running.set(message.id, delivery);
    return delivery;
  }

  /** A settlement that the queue cannot take now is said again for as long as the lease is ours. */
  async #settle(active: ActiveLease, verdict: Verdict): Promise<SettleResult> {
    const { queue, clock, logger, queueName, resultBody } = this.#options;
    const disposition = dispositionOf(verdict, resultBody);
    failpoint('settle.before');
    for (let pauseMs: number = retryPauseMs.first; ; pauseMs = Math.min(pauseMs * 2, retryPauseMs.last)) {
      try {
        const result = await queue.settle(active.lease.receipt, disposition);
        failpoint('settle.after');
        return result;
      } catch (error) {
        const mayPass = error instanceof MillraceError && error.code === 'queue.unavailable';
        if (!mayPass || clock.monotonic() + pauseMs >= active.expiresAt) throw error;
        logger.warn(
          { err: error, queue: queueName, id: active.lease.message.id },
          'a settlement was not taken; saying it again',
        );
        await sleep(pauseMs);
      }
    }
  }

  async #extendAll(): Promise<void> {
    const { queue, clock, logger, queueName } = this.#options;
    const now = clock.monotonic();
    const due = [...this.#active].filter(({ expiresAt }) => expiresAt - now < (leaseTtlMs * 2) / 3);
    await Promise.all(
      due.map(async (active) => {
        try {
          const result = await queue.extend(active.lease.receipt, leaseTtlMs);
          if (result === 'settled') active.expiresAt = clock.monotonic() + leaseTtlMs;
          else if (this.#active.has(active)) active.delivery.abort('lease-lost');
        } catch (error) {
          logger.warn(
            { err: error, queue: queueName, id: active.lease.message.id },
            'a lease was not extended; trying again',
          );
        }
      }),
    );
  }
}

/**
 * The credit of one lane. When a function has ended, its credit goes to the next one while the queue takes the verdict:
 * a round trip and an fsync less between two runs. No more than as many as the credit are settled ahead like that, so
 * that what a crash repeats stays bounded where the queue is slow.
 */
class Lane {
  readonly name: string;
  readonly credit: PacedCredit;
  /** Deliveries whose credit has gone to others before the queue had taken their verdict. */
  #ahead = 0;
  /** Deliveries that wait for their turn to be one of those. */
  readonly #ended = new Set<Delivery>();

  constructor(name: string, credit: PacedCredit) {
    this.name = name;
    this.credit = credit;
  }

  /** The function has ended; the queue is being told. */
  settling(delivery: Delivery): void {
    this.#ended.add(delivery);
    this.#advance();
  }

  /** The queue has taken the verdict, or never will. */
  settled(delivery: Delivery): void {
    // Otherwise its credit is its own still, and given back with its end.
    if (!this.#ended.delete(delivery)) this.#ahead--;
    this.#advance();
  }

  #advance(): void {
    for (const delivery of this.#ended) {
      if (this.#ahead >= this.credit.limit) return;
      this.#ended.delete(delivery);
      this.#ahead++;
      delivery.credit = undefined;
      this.credit.giveBack();
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
