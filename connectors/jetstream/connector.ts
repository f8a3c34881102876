import type { Msg } from 'nats';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import { sleep, sleepUnless, within } from '../../core/contracts/clock.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Linked, Verdict } from '../../core/contracts/delivery.ts';
import { messageOf } from '../../core/contracts/errors.ts';
import { gatherCredit } from '../../core/kit/credit.ts';
import { isLinked, Ring, unlink } from '../../core/kit/ring.ts';
import type { NatsConnection } from '../../plugins/connections/nats/connection.ts';
import type { JetstreamConnectorConfig } from './config.ts';
import { declareConsumer, findConsumer } from './consumer.ts';
import { type Lent, lentOf, sourceMessageOf } from './message.ts';
import { Puller } from './puller.ts';

/** In one request, so that what is asked for is soon worked on: the server's patience begins when it sends. */
const batch = 64;
/** How long it waits with the server: a stop waits for its end. */
const requestMs = 1000;
const retryPauseMs = { first: 100, last: 5000 } as const;
/** What can be said of a message, in the protocol's own words. */
const words = { done: Buffer.from('+ACK'), handedBack: Buffer.from('-NAK'), working: Buffer.from('+WPI') } as const;

/** A message that the server has lent us. */
interface Loan extends Linked {
  readonly message: Msg;
  readonly lent: Lent;
  /** Nothing more may be said of it. */
  isSaid: boolean;
  /** Monotonic ms: until then nobody else is given it. */
  until: number;
}

/**
 * A durable consumer of a stream. Messages are asked for as there is credit, and kept by saying "working" for as long as
 * they are. The server would take the acknowledgement of a gateway that had lost the message to another one
 * (`delivery.md` §0.3), so one that comes too late is not said.
 */
export class JetstreamConnector implements Connector {
  readonly #config: JetstreamConnectorConfig;
  readonly #host: ConnectorHost;
  readonly #nats: NatsConnection;
  readonly #puller: Puller;
  readonly #counters;
  /** What is taken out of it is not ours any more. */
  readonly #loans = new Ring<Loan>();
  readonly #stop = new AbortController();
  #taking: Promise<void> | undefined;
  /** Credits that the request under way was made with, and that no message has come for. */
  #unused = 0;
  readonly #acknowledging: Loan[] = [];
  #sending: Promise<void> | undefined;
  #working: NodeJS.Timeout | undefined;
  #lag: number | undefined;
  #lastError: string | undefined;
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;

  constructor(config: JetstreamConnectorConfig, host: ConnectorHost, nats: NatsConnection) {
    this.#config = config;
    this.#host = host;
    this.#nats = nats;
    const { stream, durable } = config;
    this.#puller = new Puller({ nats, stream, durable, receive: (message) => this.#receive(message) });
    const { metrics } = host;
    this.#counters = {
      received: metrics.counter('received_total', 'Messages that the server gave, each time it gave them.'),
      redelivered: metrics.counter('redelivered_total', 'Of these, those that had been given before.'),
      acknowledged: metrics.counter(
        'acknowledged_total',
        'Messages that were acknowledged, and the server has the word.',
      ),
      stale: metrics.counter('stale_total', 'Messages that were done when others had been given them already.'),
    };
  }

  async start(): Promise<void> {
    await declareConsumer(this.#nats, this.#config);
  }

  async check(): Promise<readonly string[]> {
    const { stream, durable } = this.#config;
    const isThere = (await findConsumer(this.#nats, this.#config)) !== undefined;
    return isThere ? [] : [`the consumer ${durable} of the stream ${stream}`];
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      this.#out = { subscriber, credit };
      this.#working = setInterval(() => this.#keep(), this.#config.ackWait / 3);
      this.#taking = this.#take(credit).catch((error: unknown) => subscriber.error(error));
      return () => this.#stop.abort();
    });
  }

  health(): ConnectorHealth {
    const { state, reconnects, lastError } = this.#nats.health();
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
    clearInterval(this.#working);
    // What has been settled and is not said yet is not left over. Whoever settled it hears what went wrong with it.
    await within(Promise.allSettled([this.#taking, this.#sending]), deadlineMs);
    // What is left goes to another gateway at once.
    for (const loan of this.#loans.items) {
      if (this.#nats.connected) say(loan, words.handedBack);
      unlink(loan);
    }
  }

  /** For ever: whatever goes wrong, it goes on when that has passed. */
  async #take(credit: Credit): Promise<void> {
    const { signal } = this.#stop;
    let pauseMs: number = retryPauseMs.first;
    let isThere = false;
    while (await credit.take(signal)) {
      const wanted = await gatherCredit(credit, batch, signal);
      this.#unused = wanted;
      const giveBack = (): void => {
        for (; this.#unused > 0; this.#unused--) credit.giveBack();
      };
      // At a stop nobody is to wait for what is asked for.
      signal.addEventListener('abort', giveBack, { once: true });
      try {
        if (!isThere) this.#lag = (await declareConsumer(this.#nats, this.#config)).num_pending;
        if (!signal.aborted) await this.#puller.ask(wanted, requestMs);
        // Looked at again when it gave nothing: one that somebody has removed may say nothing of it.
        isThere = this.#unused < wanted;
        pauseMs = retryPauseMs.first;
        this.#lastError = undefined;
      } catch (error) {
        // The consumer may be gone as well: it is looked for again, and made.
        isThere = false;
        this.#lastError = messageOf(error);
        this.#host.logger.warn({ err: error, stream: this.#config.stream }, 'no messages could be had; asking again');
        await this.#pause(pauseMs * (0.5 + Math.random() / 2));
        pauseMs = Math.min(pauseMs * 2, retryPauseMs.last);
      }
      signal.removeEventListener('abort', giveBack);
      giveBack();
    }
  }

  #receive(message: Msg): void {
    const lent = lentOf(message);
    this.#counters.received.inc();
    if (lent.deliveries > 1) this.#counters.redelivered.inc();
    this.#lag = lent.pending;
    const until = this.#host.clock.monotonic() + this.#config.ackWait;
    const loan: Loan = { message, lent, isSaid: false, until, previous: undefined, next: undefined };
    this.#loans.add(loan);
    if (this.#stop.signal.aborted) return; // Handed back by `stop`.
    this.#unused--;
    this.#give(loan);
  }

  #give(loan: Loan): void {
    const delivery = this.#host.message(sourceMessageOf(this.#config.stream, loan.message, loan.lent), {
      kind: 'settles',
      settle: (verdict) => this.#settle(loan, verdict),
    });
    this.#out?.subscriber.next(delivery);
  }

  #settle(loan: Loan, verdict: Verdict): void | Promise<void> {
    if (verdict.kind === 'retry') {
      // Not handed back: the server would count that as an attempt. It is kept until what is in its way has passed.
      if (!this.#stop.signal.aborted) void this.#again(loan, verdict.delayMs);
      return;
    }
    if (this.#holds(loan)) return this.#acknowledge(loan);
    this.#counters.stale.inc();
    this.#host.logger.warn({ sequence: loan.lent.sequence }, 'a message was done too late: others have it');
  }

  /**
   * Resolves when the server has the word. Those of one turn go in one write, which the client would make for each, and
   * are confirmed together: by the answer to a ping behind them.
   */
  #acknowledge(loan: Loan): Promise<void> {
    this.#acknowledging.push(loan);
    this.#sending ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.#acknowledgeAll());
    return this.#sending;
  }

  async #acknowledgeAll(): Promise<void> {
    this.#sending = undefined;
    const loans = this.#acknowledging.splice(0);
    try {
      await this.#nats.while((client) => {
        for (const loan of loans) say(loan, words.done);
        return client.flush();
      });
      this.#counters.acknowledged.inc(loans.length);
    } finally {
      for (const loan of loans) unlink(loan);
    }
  }

  /** The same message once more, with the credit that it needs for that, unless it has been lost meanwhile. */
  async #again(loan: Loan, delayMs: number): Promise<void> {
    const { signal } = this.#stop;
    await sleep(delayMs, signal);
    const isTaken = this.#holds(loan) && (await this.#out?.credit.take(signal));
    if (!isTaken) return;
    if (this.#holds(loan)) this.#give(loan);
    else this.#out?.credit.giveBack();
  }

  /** Whether it is still ours. What is not is forgotten: the server gives it again, to us or to others. */
  #holds(loan: Loan): boolean {
    if (this.#host.clock.monotonic() >= loan.until) unlink(loan);
    return isLinked(loan);
  }

  /** Says of each message that it is being worked on. */
  #keep(): void {
    if (!this.#nats.connected) return;
    const now = this.#host.clock.monotonic();
    for (const loan of this.#loans.items) {
      // Whoever slept through its time (a stopped process, a laptop) may not prolong what others have by now.
      if (now >= loan.until) continue;
      if (!loan.isSaid) loan.message.respond(words.working);
      loan.until = now + this.#config.ackWait;
    }
  }

  async #pause(delayMs: number): Promise<void> {
    const isBack = await sleepUnless(delayMs, this.#stop.signal, (wake) => this.#nats.onBack(wake));
    // All that lost the same server do not come back in the same moment.
    if (isBack) await sleep(Math.random() * 100);
  }
}

/** Once: what comes after that would be about a message that the server may have given to others. */
function say(loan: Loan, word: Uint8Array): void {
  if (loan.isSaid) return;
  loan.isSaid = true;
  loan.message.respond(word);
}
