import { hostname } from 'node:os';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import { sleep, sleepUnless, within } from '../../core/contracts/clock.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import { failpoint } from '../../core/delivery/failpoint.ts';
import { gatherCredit } from '../../core/kit/credit.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { type RedisConnectorConfig, standardClaimIdleMs, type StreamSettings } from './config.ts';
import { EntryMessage } from './message.ts';
import { type Entry, Group, isWithoutGroup, type Standing } from './group.ts';
import { Loans, type Loan } from './loans.ts';
import { Reader } from './reader.ts';
import { warnIfVolatile } from './server.ts';

/** In one read, so that one answer stays small. */
const batch = 64;
const longestBlockMs = 2000;
/** What is to be tried again may wait for the very credit that is read with. */
const shortBlockMs = 100;
const lagMs = 1000;
/** For what is left when the time for a stop is over. */
const handBackMs = 500;
const retryPauseMs = { first: 100, last: 5000 } as const;

/** A walk over all that is pending, a page at a time. */
interface Walk {
  readonly mine: boolean;
  readonly keys: string[];
  from: string;
}

/**
 * A consumer group of streams. The group keeps of each entry whose it is and how often it was given, so an entry is
 * acknowledged only where that is still so: a gateway that slept through its time changes nothing for those who have it
 * by then. As long as an entry is here the group hears of it, however long its function takes.
 */
export class StreamConnector implements Connector {
  readonly #host: ConnectorHost;
  readonly #redis: RedisConnection;
  readonly #group: Group;
  readonly #reader: Reader;
  readonly #acknowledgements: Acknowledgements;
  readonly #loans = new Loans();
  /** Of these, what is over and could not be acknowledged yet. Nothing is read until it is. */
  readonly #owed = new Set<Loan>();
  readonly #claimIdleMs: number;
  readonly #bodyField: string | undefined;
  readonly #counters;
  readonly #stop = new AbortController();
  readonly #timers: NodeJS.Timeout[] = [];
  #taking: Promise<void> | undefined;
  #isKeeping = false;
  /** How many wait to be tried again. */
  #returning = 0;
  #walk: Walk | undefined;
  /** Monotonic ms: when what others have left is looked for. */
  #claimAt = 0;
  #lag: number | undefined;
  #lastError: string | undefined;
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;

  constructor(
    { stream, config }: { readonly stream: StreamSettings; readonly config: RedisConnectorConfig },
    host: ConnectorHost,
    redis: RedisConnection,
  ) {
    this.#host = host;
    this.#redis = redis;
    this.#claimIdleMs = config.claimIdle ?? standardClaimIdleMs;
    this.#bodyField = config.body;
    this.#group = new Group(stream, config.consumer ?? `${hostname()}:${host.name}`, redis, host.logger);
    this.#reader = new Reader(this.#group, redis);
    this.#acknowledgements = new Acknowledgements(this.#group, {
      told: (loan, standing) => this.#told(loan, standing),
      untold: (loan, error) => {
        // Whoever waits for the word to be said waits for as long as the server is away.
        this.#owed.add(loan);
        this.#lastError = messageOf(error);
      },
    });
    const { metrics } = host;
    this.#counters = {
      received: metrics.counter('received_total', 'Messages that the server gave, each time it gave them.'),
      redelivered: metrics.counter('redelivered_total', 'Of these, those that had been given before.'),
      acknowledged: metrics.counter('acknowledged_total', 'Entries that were acknowledged, and the server said so.'),
      stale: metrics.counter('stale_total', 'Entries that were done when they were pending here no longer.'),
      lost: metrics.counter(
        'lost_upstream_total',
        'Entries that were removed from the stream before they had been run.',
      ),
    };
  }

  async start(): Promise<void> {
    await this.#group.declare();
    await warnIfVolatile(this.#redis, this.#host.logger);
  }

  async check(): Promise<readonly string[]> {
    const missing = await this.#group.missing();
    return missing.map((key) => `the group ${this.#group.name} of the stream ${key}`);
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      this.#out = { subscriber, credit };
      this.#walk = this.#walkOver(true);
      this.#timers.push(
        setInterval(() => void this.#keep(), this.#claimIdleMs / 3),
        setInterval(() => void this.#look(), lagMs),
      );
      this.#taking = this.#take(credit).catch((error: unknown) => subscriber.error(error));
      return () => {
        this.#stop.abort();
        void this.#reader.wake();
      };
    });
  }

  health(): ConnectorHealth {
    const { state, reconnects, lastError } = this.#redis.health();
    const isStopped = this.#stop.signal.aborted || !this.#out;
    return {
      state: isStopped ? 'stopped' : state === 'connected' ? 'running' : 'reconnecting',
      reconnects,
      lag: this.#lag,
      lastError: state === 'connected' ? this.#lastError : lastError,
    };
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stop.abort();
    for (const timer of this.#timers) clearInterval(timer);
    const handedBack = this.#taking?.then(() => this.#handBack());
    await within(handedBack, Math.max(deadlineMs, handBackMs));
    this.#reader.close();
    this.#loans.clear();
  }

  /** What is left goes to another gateway at its next look, or to this one after a restart; its attempt did not count. */
  async #handBack(): Promise<void> {
    if (this.#redis.health().state !== 'connected') return;
    try {
      // What is said of these is on its way: it is not left over.
      await this.#acknowledgements.settled();
      await this.#sayOwed();
      for (const [key, loans] of this.#loans.byKey()) await this.#group.say('release', key, loans, this.#claimIdleMs);
      await this.#group.leave();
    } catch (error) {
      this.#host.logger.warn({ error: messageOf(error) }, 'what was not done could not be handed back');
    }
  }

  /** For ever: whatever goes wrong, it goes on when that has passed. */
  async #take(credit: Credit): Promise<void> {
    const { signal } = this.#stop;
    let pauseMs: number = retryPauseMs.first;
    while (await credit.take(signal)) {
      const purse = { left: await gatherCredit(credit, batch, signal) };
      let error: unknown;
      try {
        await this.#round(purse);
        pauseMs = retryPauseMs.first;
        this.#lastError = undefined;
      } catch (thrown) {
        error = thrown;
      }
      for (; purse.left > 0; purse.left--) credit.giveBack();
      if (error === undefined || signal.aborted) continue;
      await this.#failed(error, pauseMs * (0.5 + Math.random() / 2));
      pauseMs = Math.min(pauseMs * 2, retryPauseMs.last);
    }
  }

  async #failed(error: unknown, pauseMs: number): Promise<void> {
    this.#lastError = messageOf(error);
    this.#host.logger.warn({ error: this.#lastError }, 'no entries could be had; asking again');
    // What the lost answer may have given us is ours already. Others get their time to say what they still work on.
    this.#walk = this.#walkOver(true);
    this.#claimAt = this.#host.clock.monotonic() + this.#claimIdleMs / 2;
    await this.#pause(pauseMs);
    void this.#keep();
    if (!isWithoutGroup(error) || this.#stop.signal.aborted) return;
    try {
      await this.#group.declare();
    } catch (thrown) {
      this.#lastError = messageOf(thrown);
    }
  }

  /** As many entries as there are credits: first those that were left behind, then new ones. */
  async #round(purse: { left: number }): Promise<void> {
    await this.#sayOwed();
    if (!this.#walk && this.#host.clock.monotonic() >= this.#claimAt) {
      // Whoever slept must not take its own for those of the dead.
      await this.#sayKeep();
      this.#walk = this.#walkOver(false);
    }
    if (this.#walk) return this.#step(this.#walk, purse);
    const { keys } = this.#group;
    const count = Math.max(1, Math.floor(purse.left / keys.length));
    const mostMs = this.#returning > 0 ? shortBlockMs : longestBlockMs;
    const entries = await this.#reader.read(keys, count, Math.min(mostMs, this.#claimIdleMs / 2));
    for (const { key, id } of entries) this.#group.reached(key, id);
    if (entries.length > 0) failpoint('source.received');
    await this.#receive(entries, purse);
  }

  #walkOver(mine: boolean): Walk {
    return { mine, keys: [...this.#group.keys], from: '' };
  }

  async #step(walk: Walk, purse: { left: number }): Promise<void> {
    const [key] = walk.keys;
    if (key !== undefined) {
      const { from, entries, deleted } = await this.#group.takeOver(key, {
        from: walk.from,
        most: purse.left,
        ...(walk.mine ? { mine: true } : { idleMs: this.#claimIdleMs }),
        held: this.#loans.idsOf(key),
      });
      walk.from = from;
      if (from === '') walk.keys.shift();
      if (deleted.length > 0) {
        this.#counters.lost.inc(deleted.length);
        this.#host.logger.error(
          { stream: key, ids: deleted },
          'entries were removed from the stream before they were run',
        );
      }
      await this.#receive(entries, purse);
    }
    if (walk.keys.length > 0) return;
    this.#walk = undefined;
    if (!walk.mine) this.#claimAt = this.#host.clock.monotonic() + this.#claimIdleMs / 2;
  }

  /** Those of several streams may be more than there was credit for: these wait for it. */
  async #receive(entries: readonly Entry[], purse: { left: number }): Promise<void> {
    const fresh = entries.flatMap((entry) => this.#loans.add(entry) ?? []);
    for (const loan of fresh) {
      this.#counters.received.inc();
      if (loan.count > 1) this.#counters.redelivered.inc();
      if (purse.left > 0) purse.left--;
      else if (!(await this.#out?.credit.take(this.#stop.signal))) return;
      if (loan.isHere && !this.#stop.signal.aborted) this.#give(loan);
      else this.#out?.credit.giveBack();
    }
  }

  #give(loan: Loan): void {
    const message = new EntryMessage(loan, this.#bodyField, this.#host.clock.now());
    loan.delivery = this.#host.message(message, {
      kind: 'settles',
      settle: (verdict) => this.#settle(loan, verdict),
    });
    this.#out?.subscriber.next(loan.delivery);
  }

  #settle(loan: Loan, verdict: Verdict): void | Promise<void> {
    if (!loan.isHere) return this.#isStale(loan);
    if (verdict.kind === 'retry') {
      // Not handed back: the group would count that as an attempt. It is kept until what is in its way has passed.
      if (!this.#stop.signal.aborted) void this.#again(loan, verdict.delayMs);
      return;
    }
    failpoint('source.before-ack');
    return this.#acknowledgements.add(loan);
  }

  #told(loan: Loan, standing: Standing): void {
    // Of one that was said before, only the answer may have got lost.
    const isOurs = standing === 'own' || (standing === 'nobody' && this.#owed.has(loan));
    this.#loans.delete(loan);
    this.#owed.delete(loan);
    if (isOurs) this.#counters.acknowledged.inc();
    else this.#isStale(loan);
    failpoint('source.after-ack');
  }

  /** Says what could not be said: otherwise all that ended while the server was away would be run again. */
  async #sayOwed(): Promise<void> {
    await Promise.all([...this.#owed].map((loan) => this.#acknowledgements.add(loan)));
    if (this.#owed.size > 0) throw new MillraceError('connection.unavailable', this.#lastError ?? 'not acknowledged');
  }

  #isStale({ key, id }: Loan): void {
    this.#counters.stale.inc();
    this.#host.logger.warn({ stream: key, id }, 'an entry was done when it was pending here no longer');
  }

  /** The same entry once more, with the credit that it needs for that. */
  async #again(loan: Loan, delayMs: number): Promise<void> {
    const { signal } = this.#stop;
    this.#returning++;
    await sleep(delayMs, signal);
    const isTaken = loan.isHere && (await this.#out?.credit.take(signal));
    this.#returning--;
    if (!isTaken) return;
    if (loan.isHere) this.#give(loan);
    else this.#out?.credit.giveBack();
  }

  async #keep(): Promise<void> {
    if (this.#isKeeping) return;
    this.#isKeeping = true;
    try {
      await this.#sayKeep();
    } catch (error) {
      this.#lastError = messageOf(error);
    }
    this.#isKeeping = false;
  }

  /** Says of each entry that it is being worked on. What others have by now is theirs. */
  async #sayKeep(): Promise<void> {
    for (const [key, loans] of this.#loans.byKey()) {
      const standing = await this.#group.say('keep', key, loans);
      for (const [at, loan] of loans.entries()) {
        if (standing[at] !== 'lost' || !loan.isHere) continue;
        const { delivery } = loan;
        this.#loans.delete(loan);
        delivery?.abort('lease-lost');
      }
    }
  }

  async #look(): Promise<void> {
    try {
      this.#lag = await this.#group.lag();
    } catch {
      // What keeps it from being asked is told by the reads.
      this.#lag = undefined;
    }
  }

  async #pause(delayMs: number): Promise<void> {
    const isBack = await sleepUnless(delayMs, this.#stop.signal, (wake) => onBack(this.#redis, wake));
    // All that lost the same server do not come back in the same moment.
    if (isBack) await sleep(Math.random() * 100, this.#stop.signal);
  }
}

function onBack({ client }: RedisConnection, wake: () => void): () => void {
  client.once('ready', wake);
  return () => client.off('ready', wake);
}
