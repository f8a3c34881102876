import { randomUUID } from 'node:crypto';
import type { ConsumeMessage } from 'amqplib';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import { sleep, sleepUnless, within } from '../../core/contracts/clock.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Linked, Verdict } from '../../core/contracts/delivery.ts';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import type { SourceMessage } from '../../core/contracts/message.ts';
import { Ring, unlink } from '../../core/kit/ring.ts';
import type { AmqpConnection } from '../../plugins/connections/amqp/connection.ts';
import type { AmqpConnectorConfig } from './config.ts';
import { sourceMessageOf, waysTo } from './message.ts';
import { Orphans } from './orphans.ts';
import { type Reply, Replies, replyTo } from './replies.ts';
import type { Session } from './session.ts';
import { QueueSource, type Source, StreamSource } from './source.ts';
import { declareTopology, expectType, Missing, missingTopology } from './topology.ts';

const retryPauseMs = { first: 100, last: 5000 } as const;
/** A session that has lasted so long was a good one: the next one is tried at once. */
const goodSessionMs = 10_000;

/** A message that the broker has lent us. */
interface Loan extends Linked {
  message: ConsumeMessage;
  /** Undefined once the broker has taken it back. */
  session: Session | undefined;
  readonly source: SourceMessage;
  isRunning: boolean;
}

/**
 * A consumer of one queue. The client library notices when a channel is closed and a consumer cancelled, and leaves it at
 * that: here another one is opened, for ever, with what it needs declared anew. An acknowledgement goes to the channel that
 * the message came by; when that is gone, so is the loan, and the broker gives the message again.
 */
export class AmqpConnector implements Connector {
  readonly #config: AmqpConnectorConfig;
  readonly #host: ConnectorHost;
  readonly #amqp: AmqpConnection;
  readonly #counters;
  readonly #replies: Replies;
  readonly #source: Source;
  readonly #wayOf: ReturnType<typeof waysTo>;
  readonly #loans = new Ring<Loan>();
  readonly #orphans = new Orphans<Loan>();
  /** What came and waits for credit; never more than the broker lends. */
  readonly #waiting: Loan[] = [];
  readonly #stop = new AbortController();
  /** Aborts when nothing is settled any more. */
  readonly #end = new AbortController();
  /** Names what has no name of its own: this and a number. */
  readonly #id = randomUUID();
  #received = 0;
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;
  #serving: Promise<void> | undefined;
  #session: Session | undefined;
  #sessions = 0;
  #isPumping = false;
  #lastError: string | undefined;

  constructor(config: AmqpConnectorConfig, host: ConnectorHost, amqp: AmqpConnection) {
    this.#config = config;
    this.#host = host;
    this.#amqp = amqp;
    this.#replies = new Replies(host, amqp);
    this.#wayOf = waysTo(config.queue.name);
    this.#source =
      config.queue.type === 'stream' ? new StreamSource(config, host, amqp) : new QueueSource(config.queue.name, amqp);
    const { metrics } = host;
    this.#counters = {
      received: metrics.counter('received_total', 'Messages that the broker gave, each time it gave them.'),
      redelivered: metrics.counter('redelivered_total', 'Of these, those that had been given before.'),
      adopted: metrics.counter('adopted_total', 'Of these, those that were still running here and not run again.'),
      acknowledged: metrics.counter('acknowledged_total', 'Messages that were acknowledged.'),
      stale: metrics.counter('stale_total', 'Messages that were done when the broker had taken them back.'),
    };
  }

  async start(): Promise<void> {
    const { queue } = this.#config;
    try {
      await declareTopology(this.#amqp, queue);
      if (!queue.declare) await expectType(this.#amqp, queue);
    } catch (error) {
      if (error instanceof Missing) throw asInvalid(error);
      if (isFinal(error)) throw error;
      this.#lastError = messageOf(error);
      this.#host.logger.warn({ err: error, queue: queue.name }, 'the queue cannot be looked at yet; going on trying');
    }
    if (queue.type === 'quorum' && queue.arguments['x-dead-letter-exchange'] === undefined) this.#warnOfLimit();
  }

  async check(): Promise<readonly string[]> {
    try {
      return await missingTopology(this.#amqp, this.#config.queue);
    } catch (error) {
      throw error instanceof Missing ? asInvalid(error) : error;
    }
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      this.#out = { subscriber, credit };
      this.#serving = this.#serve(credit).catch((error: unknown) => subscriber.error(error));
      return () => this.#stop.abort();
    });
  }

  health(): ConnectorHealth {
    const { state, lastError } = this.#amqp.health();
    const isAway = state !== 'connected';
    const isStopped = this.#stop.signal.aborted || !this.#out;
    return {
      state: isStopped
        ? 'stopped'
        : !isAway && (this.#session?.isOpen || this.#source.isStandby)
          ? 'running'
          : 'reconnecting',
      reconnects: Math.max(0, this.#sessions - 1),
      lag: this.#session?.depth,
      lastError: isAway ? lastError : this.#lastError,
    };
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stop.abort();
    this.#end.abort();
    const ending = async (): Promise<void> => {
      await this.#serving;
      // The broker gives to others what is left.
      await this.#session?.close();
      for (const loan of this.#loans.items) unlink(loan);
      this.#orphans.clear();
      await Promise.all([this.#replies.close(), this.#source.close()]);
    };
    await within(ending(), deadlineMs + 500);
  }

  /** For ever: whatever goes wrong, it goes on when that has passed. Rejects when no waiting will mend it. */
  async #serve(credit: Credit): Promise<void> {
    const { signal } = this.#stop;
    const { logger, clock } = this.#host;
    const { name } = this.#config.queue;
    let pauseMs: number = retryPauseMs.first;
    while (!signal.aborted) {
      // The connection dials for ever, and tells of it.
      if (!this.#amqp.connected) {
        await this.#pause(retryPauseMs.last);
        continue;
      }
      const begun = clock.monotonic();
      try {
        await this.#consume(credit);
        if (signal.aborted) return;
      } catch (error) {
        if (isFinal(error)) throw error;
        if (error instanceof Missing && error.isQueue) this.#source.isGone();
        if (signal.aborted) return;
        if (clock.monotonic() - begun >= goodSessionMs) pauseMs = retryPauseMs.first;
        this.#lastError = messageOf(error);
        logger.warn({ err: error, queue: name }, /acknowledge?ment.*timed out/.test(this.#lastError) ? tooSlow : again);
      }
      await this.#pause(pauseMs * (0.5 + Math.random() / 2));
      pauseMs = this.#source.isStandby ? retryPauseMs.first * 10 : Math.min(pauseMs * 2, retryPauseMs.last);
    }
  }

  /** One session, from what it needs to its end. Rejects with why it ended; resolves at a stop, and while on standby. */
  async #consume(credit: Credit): Promise<void> {
    const { signal } = this.#stop;
    const { queue } = this.#config;
    const session = await this.#source.open({
      declare: () => declareTopology(this.#amqp, queue),
      prefetch: Math.min(credit.limit, 65_535),
      tag: `${this.#host.name}-${randomUUID().slice(0, 8)}`,
      hear: (message, from) => this.#receive(message, from),
      signal,
    });
    this.#lastError = session ? undefined : 'another gateway reads this stream; this one goes on when that one ends';
    if (!session) return;
    this.#session = session;
    this.#sessions++;
    const stopped = Promise.withResolvers<undefined>();
    const onStop = (): void => stopped.resolve(undefined);
    signal.addEventListener('abort', onStop, { once: true });
    if (signal.aborted) onStop();
    void session.ended.then(() => this.#lose());
    const reason = await Promise.race([session.ended, stopped.promise]);
    signal.removeEventListener('abort', onStop);
    if (reason) throw reason;
    await session.stopTaking();
    // Others may have at once what nobody has begun here.
    for (const { message } of this.#waiting.splice(0)) session.handBack(message);
  }

  #receive(message: ConsumeMessage, session: Session): void {
    // On its way when the consumer was cancelled.
    if (this.#stop.signal.aborted) return session.handBack(message);
    this.#counters.received.inc();
    if (message.fields.redelivered) this.#counters.redelivered.inc();
    if (!this.#source.received(message)) {
      session.acknowledge(message);
      return;
    }
    const { queue } = this.#config;
    const source = sourceMessageOf(message, {
      queue: queue.name,
      id: `${this.#id}:${++this.#received}`,
      way: this.#wayOf(message.fields),
      stream: this.#source.generation,
      now: this.#host.clock.now(),
    });
    const loan: Loan = { message, session, source, isRunning: false, previous: undefined, next: undefined };
    const running = this.#source.mayRun(message) ? this.#orphans.claim(loan) : undefined;
    this.#loans.add(running ?? loan);
    if (running) {
      this.#counters.adopted.inc();
      running.message = message;
      running.session = session;
      return;
    }
    if (this.#waiting.length === 0 && this.#out?.credit.tryTake()) return this.#give(loan);
    this.#waiting.push(loan);
    void this.#pump();
  }

  /** Gives on, in the order in which they came, what had to wait for credit. */
  async #pump(): Promise<void> {
    if (this.#isPumping || !this.#out) return;
    this.#isPumping = true;
    const { credit } = this.#out;
    while (this.#waiting.length > 0 && (credit.tryTake() || (await credit.take(this.#stop.signal)))) {
      const loan = this.#waiting.shift();
      if (loan?.session) this.#give(loan);
      else credit.giveBack();
    }
    this.#isPumping = false;
  }

  #give(loan: Loan): void {
    loan.isRunning = true;
    const settle = (verdict: Verdict, delivery: Delivery): void | Promise<void> =>
      this.#settle(loan, verdict, delivery);
    this.#out?.subscriber.next(this.#host.message(loan.source, { kind: 'settles', settle }));
  }

  #settle(loan: Loan, verdict: Verdict, { invocation, request }: Delivery): void | Promise<void> {
    // Said twice, an acknowledgement would end the channel.
    if (!loan.isRunning) return;
    if (verdict.kind === 'retry') {
      loan.isRunning = false;
      if (this.#orphans.remove(loan)) this.#counters.stale.inc();
      // Not handed back: the broker would count that as an attempt, and give it again at once.
      else if (!this.#stop.signal.aborted) void this.#again(loan, verdict.delayMs);
      return;
    }
    // Of what is in a queue it cannot be told yet what comes of it.
    const isAnswered = this.#config.replies && request.mode === 'sync';
    const reply = isAnswered ? replyTo(loan.message, verdict, invocation?.callId) : undefined;
    if (reply) return this.#answer(loan, reply);
    this.#acknowledge(loan);
  }

  async #answer(loan: Loan, reply: Reply): Promise<void> {
    try {
      await this.#replies.send(reply, this.#end.signal);
    } catch (error) {
      this.#ended(loan);
      throw error;
    }
    this.#acknowledge(loan);
  }

  #acknowledge(loan: Loan): void {
    this.#ended(loan);
    const { session, message } = loan;
    unlink(loan);
    if (!session?.isOpen) {
      this.#counters.stale.inc();
      this.#host.logger.warn(
        { queue: this.#config.queue.name },
        'a message was done when the broker had taken it back',
      );
      return;
    }
    this.#counters.acknowledged.inc();
    this.#source.settled(message, session);
  }

  #ended(loan: Loan): void {
    loan.isRunning = false;
    this.#orphans.remove(loan);
  }

  /** The same message once more, with the credit that it needs for that. */
  async #again(loan: Loan, delayMs: number): Promise<void> {
    const { signal } = this.#stop;
    await sleep(delayMs, signal);
    if (!loan.session || !(await this.#out?.credit.take(signal))) return;
    if (loan.session) this.#give(loan);
    else this.#out?.credit.giveBack();
  }

  /** The broker has taken everything back. */
  #lose(): void {
    this.#waiting.length = 0;
    for (const loan of this.#loans.items) {
      unlink(loan);
      loan.session = undefined;
      if (loan.isRunning) this.#orphans.add(loan);
    }
  }

  async #pause(delayMs: number): Promise<void> {
    const isBack = await sleepUnless(delayMs, this.#stop.signal, (wake) => this.#amqp.onBack(wake));
    // All that lost the same broker do not come back in the same moment.
    if (isBack) await sleep(Math.random() * 100, this.#stop.signal);
  }

  #warnOfLimit(): void {
    const { name, deliveryLimit } = this.#config.queue;
    const isFour = Number.parseInt(this.#amqp.server.version, 10) >= 4;
    if (deliveryLimit === undefined && !isFour) return;
    const limit = deliveryLimit ?? '20 times, the limit of RabbitMQ 4 unless the queue has another one';
    this.#host.logger.warn(
      { queue: name, limit },
      'what is given more often and not settled is dropped by RabbitMQ, unless a policy gives the queue a dead letter exchange',
    );
  }
}

const again = 'the consumer has ended; beginning again';
const tooSlow =
  'RabbitMQ has closed the channel because a function took longer than its consumer_timeout (30 minutes unless it is set): ' +
  'give this connector `ack: enqueued`, or raise consumer_timeout';

function asInvalid(error: Missing): MillraceError {
  return new MillraceError('config.invalid', error.message, { cause: error });
}

/** What is there is not what is asked for. */
function isFinal(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'config.invalid';
}
