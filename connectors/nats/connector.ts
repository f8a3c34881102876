import { randomUUID } from 'node:crypto';
import { headers as createHeaders, type Msg, type MsgHdrs, type NatsError, type Subscription } from 'nats';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Settlement, Verdict } from '../../core/contracts/delivery.ts';
import { errorCodes, messageOf, MillraceError } from '../../core/contracts/errors.ts';
import type { Body } from '../../core/contracts/invocation.ts';
import type { SourceMessage } from '../../core/contracts/message.ts';
import { Fifo } from '../../core/kit/fifo.ts';
import { bytesOf, isStream, readAll } from '../../core/kit/body.ts';
import { endToEnd } from '../../core/kit/headers.ts';
import { type Refusal, refusalText, stopping } from '../../core/kit/outcome.ts';
import type { NatsConnection } from '../../plugins/connections/nats/connection.ts';
import type { NatsConnectorConfig } from './config.ts';

const dropped: Refusal = {
  code: 'limit.in-flight',
  message: 'too many messages of this connector wait already',
  retryAfterSeconds: 1,
};

/**
 * Subjects of core NATS. The server hands a message out once and forgets it, so there is nothing to acknowledge: what can
 * be promised is that nothing is dropped in silence. The client library subscribes again after a reconnect.
 */
export class NatsConnector implements Connector {
  readonly #config: NatsConnectorConfig;
  readonly #host: ConnectorHost;
  readonly #nats: NatsConnection;
  readonly #counters;
  /** By subscription, where all of its messages have one subject: to read that out of each costs as much as a stage. */
  readonly #exact = new Map<number, string>();
  /** Messages that wait for credit. */
  readonly #waiting = new Fifo<Msg>();
  /** The server names no message: this and a number do. */
  readonly #id = `${randomUUID()}:`;
  /** Of every message that asks for no reply. */
  readonly #unasked: Settlement = { kind: 'replies', settle: (verdict) => this.#end(verdict) };
  #given = 0;
  #taking = false;
  #isRunning = false;

  constructor(config: NatsConnectorConfig, host: ConnectorHost, nats: NatsConnection) {
    this.#config = config;
    this.#host = host;
    this.#nats = nats;
    const { metrics } = host;
    this.#counters = {
      received: metrics.counter('received_total', 'Messages that came.'),
      dropped: metrics.counter('dropped_total', 'Messages dropped because too many waited, or at a stop.'),
      failed: metrics.counter(
        'failed_total',
        'Messages whose function was refused or failed; NATS keeps none of them.',
      ),
    };
  }

  async start(): Promise<void> {
    // The subscriptions begin with the deliveries: nothing listens before it can be given on.
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      const stop = new AbortController();
      const { subjects, group } = this.#config;
      const callback = (error: NatsError | null, message: Msg): void => {
        if (error) this.#refused(error, subscriber);
        else this.#receive(message, credit, subscriber, stop.signal);
      };
      const subscriptions = subjects.map((subject): Subscription => {
        const subscription = this.#nats.client.subscribe(subject, { queue: group, callback });
        if (!/[*>]/.test(subject)) this.#exact.set(subscription.getID(), subject);
        return subscription;
      });
      this.#isRunning = true;
      return () => {
        this.#isRunning = false;
        for (const subscription of subscriptions) if (!subscription.isClosed()) subscription.unsubscribe();
        stop.abort();
        for (let left = this.#waiting.take(); left; left = this.#waiting.take()) this.#drop(left, stopping);
      };
    });
  }

  health(): ConnectorHealth {
    const { state, reconnects, lastError } = this.#nats.health();
    const away = state === 'connected' ? 'running' : 'reconnecting';
    return { state: this.#isRunning ? away : 'stopped', reconnects, lastError, lag: this.#waiting.length };
  }

  async stop(): Promise<void> {
    // What was replied goes out before the connection is closed: that flushes.
  }

  #refused(error: NatsError, subscriber: Subscriber<Delivery>): void {
    const message = `the server refuses the subscription: ${messageOf(error)}. The user needs to be allowed to subscribe`;
    subscriber.error(new MillraceError('config.invalid', message, { cause: error }));
  }

  #receive(message: Msg, credit: Credit, subscriber: Subscriber<Delivery>, stop: AbortSignal): void {
    this.#counters.received.inc();
    if (message.data.byteLength > this.#host.limits.body) {
      this.#counters.failed.inc();
      const text = `the message has ${message.data.byteLength} bytes; the limit is ${this.#host.limits.body}`;
      return this.#refuse(message, { code: 'limit.body', message: text });
    }
    if (this.#waiting.length === 0 && credit.tryTake()) return subscriber.next(this.#delivery(message));
    if (this.#waiting.length >= this.#config.buffer) return this.#drop(message, dropped);
    this.#waiting.add(message);
    if (!this.#taking) void this.#take(credit, subscriber, stop);
  }

  /** In the order in which they came. */
  async #take(credit: Credit, subscriber: Subscriber<Delivery>, stop: AbortSignal): Promise<void> {
    this.#taking = true;
    while (this.#waiting.length > 0 && (credit.tryTake() || (await credit.take(stop)))) {
      const message = this.#waiting.take();
      if (message) subscriber.next(this.#delivery(message));
      else credit.giveBack();
    }
    this.#taking = false;
  }

  #drop(message: Msg, refusal: Refusal): void {
    this.#counters.dropped.inc();
    this.#host.logger.warn({ subject: message.subject, reason: refusal.message }, 'a message was dropped');
    this.#refuse(message, refusal);
  }

  #delivery(message: Msg): Delivery {
    const topic = this.#exact.get(message.sid) ?? message.subject;
    const { data } = message;
    // To read where to reply costs as much as a stage, of a message that has no such place too: its size tells that.
    const isUnasked = (message as Msg & { size(): number }).size() === topic.length + data.byteLength;
    return this.#host.message(
      {
        topic,
        id: `${this.#id}${++this.#given}`,
        hasPlainId: true,
        headers: message.headers ?? noHeaders,
        body: data,
        attempt: 1,
      },
      isUnasked
        ? this.#unasked
        : {
            kind: 'replies',
            settle: (verdict, { invocation }) => this.#settle(message, verdict, invocation?.callId),
          },
    );
  }

  #end(verdict: Verdict): void {
    if (!('outcome' in verdict)) return;
    if (verdict.outcome.status >= 400) this.#counters.failed.inc();
    // A stream that nobody reads would hold its function.
    if (isStream(verdict.outcome.body)) verdict.outcome.body.destroy();
  }

  #settle(message: Msg, verdict: Verdict, callId: string | undefined): void | Promise<void> {
    if (!message.reply) return this.#end(verdict);
    if ('outcome' in verdict && verdict.outcome.status >= 400) this.#counters.failed.inc();
    const about = callId === undefined ? {} : { 'X-Call-Id': callId };
    if (verdict.kind === 'accepted') {
      const { id, duplicate, durability } = verdict.accepted;
      const accepted = { ...about, 'X-Invocation-Id': id, 'X-Durability': durability };
      return this.#reply(message, new Uint8Array(0), duplicate ? { ...accepted, 'X-Duplicate': 'true' } : accepted);
    }
    const { outcome } = verdict;
    const headers: Record<string, string | readonly string[]> = { ...endToEnd(outcome.headers), ...about };
    if (outcome.status >= 400) {
      Object.assign(headers, errorHeaders(outcome.status, outcome.error?.message ?? `status ${outcome.status}`));
    }
    if (isStream(outcome.body)) return this.#replyWithStream(message, outcome.body, headers);
    this.#reply(message, bytesOf(outcome.body), headers);
  }

  async #replyWithStream(
    message: Msg,
    stream: Exclude<Body, Uint8Array | null>,
    headers: Readonly<Record<string, string | readonly string[]>>,
  ): Promise<void> {
    const most = this.#maxReply();
    const tooLarge = new MillraceError('function.bad-response', `the answer is larger than ${most} bytes`);
    try {
      this.#reply(message, await readAll(stream, most, () => tooLarge), headers);
    } catch (error) {
      stream.destroy();
      const refusal = {
        code: 'function.bad-response',
        message: `the streamed answer failed: ${messageOf(error)}`,
      } as const;
      this.#refuse(message, error instanceof MillraceError ? error : refusal);
    }
  }

  #refuse(message: Msg, refusal: Refusal): void {
    const headers = errorHeaders(errorCodes[refusal.code].status, refusal.message);
    this.#reply(message, Buffer.from(refusalText(refusal)), { 'content-type': 'application/json', ...headers });
  }

  #reply(message: Msg, body: Uint8Array, headers: Readonly<Record<string, string | readonly string[]>>): void {
    if (!message.reply) return;
    if (body.byteLength > this.#maxReply()) {
      const text = `the answer has ${body.byteLength} bytes; a message has at most ${this.#maxReply()}`;
      return this.#refuse(message, { code: 'function.bad-response', message: text });
    }
    // The library would keep it for when the server is back; by then nobody waits for it any more.
    if (!this.#nats.connected) throw new MillraceError('connection.unavailable', 'the reply could not be sent');
    message.respond(body, { headers: natsHeaders(headers) });
  }

  #maxReply(): number {
    // The server counts the headers as well.
    return (this.#nats.client.info?.max_payload ?? 2 ** 20) - 16_384;
  }
}

const noHeaders: SourceMessage['headers'] = [];

/** As clients of NATS services read them (ADR-32): a code and a line. */
function errorHeaders(status: number, message: string): Record<string, string> {
  return {
    'Nats-Service-Error-Code': String(status),
    'Nats-Service-Error': message.replaceAll(/[^\t\x20-\x7e]+/g, ' ').slice(0, 1000),
  };
}

function natsHeaders(from: Readonly<Record<string, string | readonly string[]>>): MsgHdrs {
  const made = createHeaders();
  for (const [name, value] of Object.entries(from)) for (const each of [value].flat()) made.append(name, each);
  return made;
}
