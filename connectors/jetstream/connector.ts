import type { Consumer, JsMsg } from 'nats';
import { Observable, type Subscriber } from 'rxjs';
import { sleep, sleepUnless } from '../../core/contracts/clock.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import { messageOf } from '../../core/contracts/errors.ts';
import { gatherCredit } from '../../core/kit/credit.ts';
import type { NatsConnection } from '../../plugins/connections/nats/connection.ts';
import type { JetstreamConnectorConfig } from './config.ts';
import { declareConsumer, findConsumer } from './consumer.ts';

/** In one request, so that what is asked for is soon worked on: the server's patience begins when it sends. */
const batch = 64;
/** How long it waits with the server: a stop waits for its end. The client library takes no less. */
const requestMs = 1000;
const retryPauseMs = { first: 100, last: 5000 } as const;

/** A message that the server has lent us. */
interface Loan {
  readonly message: JsMsg;
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
  readonly #counters;
  readonly #loans = new Set<Loan>();
  readonly #stop = new AbortController();
  #taking: Promise<void> | undefined;
  readonly #acknowledging: JsMsg[] = [];
  #sending: Promise<void> | undefined;
  #working: NodeJS.Timeout | undefined;
  #lag: number | undefined;
  #lastError: string | undefined;
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;

  constructor(config: JetstreamConnectorConfig, host: ConnectorHost, nats: NatsConnection) {
    this.#config = config;
    this.#host = host;
    this.#nats = nats;
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
    const given = new AbortController();
    await Promise.race([this.#taking, sleep(deadlineMs, given.signal)]);
    given.abort();
    // What is left goes to another gateway at once.
    if (this.#nats.connected) for (const { message } of this.#loans) message.nak();
    this.#loans.clear();
  }

  /** For ever: whatever goes wrong, it goes on when that has passed. */
  async #take(credit: Credit): Promise<void> {
    const { signal } = this.#stop;
    let pauseMs: number = retryPauseMs.first;
    let consumer: Consumer | undefined;
    while (await credit.take(signal)) {
      const wanted = await gatherCredit(credit, batch, signal);
      let unused = wanted;
      const giveBack = (): void => {
        for (; unused > 0; unused--) credit.giveBack();
      };
      // At a stop nobody is to wait for what is asked for.
      signal.addEventListener('abort', giveBack, { once: true });
      try {
        consumer ??= await this.#consumer();
        await this.#ask(consumer, wanted, () => unused--);
        // Looked at again when it gave nothing: one that somebody has removed may say nothing of it.
        if (unused === wanted) consumer = undefined;
        pauseMs = retryPauseMs.first;
        this.#lastError = undefined;
      } catch (error) {
        // The consumer may be gone as well: it is looked for again, and made.
        consumer = undefined;
        this.#lastError = messageOf(error);
        this.#host.logger.warn({ err: error, stream: this.#config.stream }, 'no messages could be had; asking again');
        await this.#pause(pauseMs * (0.5 + Math.random() / 2));
        pauseMs = Math.min(pauseMs * 2, retryPauseMs.last);
      }
      signal.removeEventListener('abort', giveBack);
      giveBack();
    }
  }

  async #consumer(): Promise<Consumer> {
    const info = await declareConsumer(this.#nats, this.#config);
    this.#lag = info.num_pending;
    return this.#nats.client.jetstream().consumers.getPullConsumerFor(info);
  }

  /** Gives on what comes, with a word of each. */
  async #ask(consumer: Consumer, wanted: number, came: () => void): Promise<void> {
    const { signal } = this.#stop;
    const { lost } = this.#nats;
    const messages = await this.#nats.while(() => consumer.fetch({ max_messages: wanted, expires: requestMs }));
    const end = (): void => messages.stop();
    lost.addEventListener('abort', end, { once: true });
    try {
      if (lost.aborted) end();
      // Not left at a stop: what the server sends by then would be lent to nobody, and a request that nobody listens to has
      // NATS 2.9 lose what is handed back next.
      for await (const message of messages) {
        const loan = this.#lent(message);
        if (signal.aborted) continue;
        came();
        this.#give(loan);
      }
    } finally {
      lost.removeEventListener('abort', end);
    }
  }

  #lent(message: JsMsg): Loan {
    this.#counters.received.inc();
    if (message.redelivered) this.#counters.redelivered.inc();
    this.#lag = message.info.pending;
    const loan: Loan = { message, until: this.#host.clock.monotonic() + this.#config.ackWait };
    this.#loans.add(loan);
    return loan;
  }

  #give(loan: Loan): void {
    const { message } = loan;
    const { stream } = this.#config;
    const { streamSequence: sequence, deliveryCount, timestampNanos } = message.info;
    const delivery = this.#host.message(
      {
        topic: message.subject,
        id: `${stream}:${sequence}`,
        // A stream that was made anew counts from 1 again.
        dedupId: `${stream}:${sequence}:${timestampNanos}`,
        at: Math.floor(timestampNanos / 1_000_000),
        headers: message.headers ?? [],
        extra: { 'x-nats-stream': stream, 'x-nats-sequence': String(sequence) },
        // A copy: the bytes that came share their memory with other messages.
        body: new Uint8Array(message.data),
        attempt: deliveryCount,
      },
      { kind: 'settles', settle: (verdict) => this.#settle(loan, verdict) },
    );
    this.#out?.subscriber.next(delivery);
  }

  async #settle(loan: Loan, verdict: Verdict): Promise<void> {
    if (verdict.kind === 'retry') {
      // Not handed back: the server would count that as an attempt. It is kept until what is in its way has passed.
      if (!this.#stop.signal.aborted) void this.#again(loan, verdict.delayMs);
      return;
    }
    const { message } = loan;
    if (!this.#holds(loan)) {
      this.#counters.stale.inc();
      this.#host.logger.warn({ sequence: message.info.streamSequence }, 'a message was done too late: others have it');
      return;
    }
    try {
      await this.#acknowledged(message);
      this.#counters.acknowledged.inc();
    } finally {
      this.#loans.delete(loan);
    }
  }

  /**
   * Resolves when the server has the word. Those of one turn go in one write, which the client would make for each, and
   * are confirmed together: by the answer to a ping behind them.
   */
  #acknowledged(message: JsMsg): Promise<void> {
    this.#acknowledging.push(message);
    this.#sending ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      this.#sending = undefined;
      const messages = this.#acknowledging.splice(0);
      return this.#nats.while((client) => {
        for (const each of messages) each.ack();
        return client.flush();
      });
    });
    return this.#sending;
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
    if (this.#host.clock.monotonic() >= loan.until) this.#loans.delete(loan);
    return this.#loans.has(loan);
  }

  /** Says of each message that it is being worked on. */
  #keep(): void {
    if (!this.#nats.connected) return;
    const now = this.#host.clock.monotonic();
    for (const loan of this.#loans) {
      // Whoever slept through its time (a stopped process, a laptop) may not prolong what others have by now.
      if (now >= loan.until) continue;
      loan.message.working();
      loan.until = now + this.#config.ackWait;
    }
  }

  async #pause(delayMs: number): Promise<void> {
    const isBack = await sleepUnless(delayMs, this.#stop.signal, (wake) => this.#nats.onBack(wake));
    // All that lost the same server do not come back in the same moment.
    if (isBack) await sleep(Math.random() * 100);
  }
}
