import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import { isStream } from '../../core/kit/body.ts';
import { Fifo } from '../../core/kit/fifo.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import type { RedisConnectorConfig } from './config.ts';
import { matchesGlob } from './glob.ts';
import { clientOfItsOwn } from './server.ts';

interface Message {
  readonly channel: string;
  readonly body: Buffer;
}

const standardBuffer = 1000;
/** A server that has gone without a word is noticed when it does not answer this; nothing else is said to it. */
const pingMs = 10_000;

/**
 * Channels of publish and subscribe. Redis hands a message to whoever listens at that moment, to every gateway, and
 * forgets it: there is nothing to acknowledge, and what can be promised is that nothing is dropped in silence.
 */
export class ChannelConnector implements Connector {
  readonly #channels: ReadonlySet<string>;
  readonly #patterns: readonly string[];
  readonly #buffer: number;
  readonly #host: ConnectorHost;
  readonly #redis: RedisConnection;
  readonly #counters;
  /** Messages that wait for credit. */
  readonly #waiting = new Fifo<Message>();
  #isTaking = false;
  #listener: Redis | undefined;
  /** How often it could listen. */
  #times = 0;
  #isListening = false;
  #lastError: string | undefined;

  constructor(
    { channels = [], patterns = [], buffer }: RedisConnectorConfig,
    host: ConnectorHost,
    redis: RedisConnection,
  ) {
    this.#channels = new Set(channels);
    this.#patterns = [...new Set(patterns)];
    this.#buffer = buffer ?? standardBuffer;
    this.#host = host;
    this.#redis = redis;
    const { metrics } = host;
    this.#counters = {
      received: metrics.counter('received_total', 'Messages that the server gave, each time it gave them.'),
      dropped: metrics.counter('dropped_total', 'Messages of channels dropped because too many waited, or at a stop.'),
      failed: metrics.counter(
        'failed_total',
        'Messages of channels whose function was refused or failed; Redis keeps none of them.',
      ),
    };
  }

  async start(): Promise<void> {
    // It listens from when there is somebody to give it to.
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      const stop = new AbortController();
      const listener = clientOfItsOwn(this.#redis, 'channels');
      this.#listener = listener;
      const receive = (channel: string, body: Buffer): void =>
        this.#receive({ channel, body }, credit, subscriber, stop.signal);
      listener.on('messageBuffer', (channel, body) => receive(channel.toString(), body));
      listener.on('pmessageBuffer', (pattern, channel, body) => {
        const name = channel.toString();
        // One that fits several comes once for each.
        const fits = !this.#channels.has(name) && this.#patterns.find((each) => matchesGlob(each, name)) === pattern;
        if (fits) receive(name, body);
      });
      listener.on('ready', () => void this.#listen(listener, subscriber));
      listener.on('error', (error) => (this.#lastError = messageOf(error)));
      listener.on('close', () => {
        if (this.#isListening) this.#host.logger.warn('the connection is lost: what is published now is missed');
        this.#isListening = false;
      });
      // It dials on by itself.
      listener.connect().catch(() => {});
      const ping = setInterval(() => {
        if (this.#isListening) listener.ping().catch(() => {});
      }, pingMs);
      return () => {
        clearInterval(ping);
        this.#isListening = false;
        this.#listener = undefined;
        listener.disconnect();
        stop.abort();
        for (let left = this.#waiting.take(); left; left = this.#waiting.take()) this.#drop(left, 'the gateway stops');
      };
    });
  }

  health(): ConnectorHealth {
    const state = !this.#listener ? 'stopped' : this.#isListening ? 'running' : 'reconnecting';
    return { state, reconnects: Math.max(0, this.#times - 1), lastError: this.#lastError, lag: this.#waiting.length };
  }

  async stop(): Promise<void> {
    // Nothing is owed to the server.
  }

  async #listen(listener: Redis, subscriber: Subscriber<Delivery>): Promise<void> {
    try {
      if (this.#channels.size > 0) await listener.subscribe(...this.#channels);
      if (this.#patterns.length > 0) await listener.psubscribe(...this.#patterns);
      if (this.#listener !== listener) return;
      this.#times++;
      this.#isListening = true;
      this.#lastError = undefined;
    } catch (error) {
      const message = messageOf(error);
      this.#lastError = message;
      if (!message.startsWith('NOPERM')) return listener.disconnect(true);
      const text = `the server refuses the subscription: ${message}. The user needs to be allowed to subscribe`;
      subscriber.error(new MillraceError('config.invalid', text));
    }
  }

  #receive(message: Message, credit: Credit, subscriber: Subscriber<Delivery>, stop: AbortSignal): void {
    this.#counters.received.inc();
    if (message.body.byteLength > this.#host.limits.body) {
      return this.#drop(message, `it has ${message.body.byteLength} bytes; the limit is ${this.#host.limits.body}`);
    }
    if (this.#waiting.length === 0 && credit.tryTake()) return subscriber.next(this.#delivery(message));
    if (this.#waiting.length >= this.#buffer) return this.#drop(message, 'too many messages wait already');
    this.#waiting.add(message);
    if (!this.#isTaking) void this.#take(credit, subscriber, stop);
  }

  /** In the order in which they came. */
  async #take(credit: Credit, subscriber: Subscriber<Delivery>, stop: AbortSignal): Promise<void> {
    this.#isTaking = true;
    while (this.#waiting.length > 0 && (await credit.take(stop))) {
      const message = this.#waiting.take();
      if (message) subscriber.next(this.#delivery(message));
      else credit.giveBack();
    }
    this.#isTaking = false;
  }

  #drop({ channel }: Message, reason: string): void {
    this.#counters.dropped.inc();
    this.#host.logger.warn({ channel, reason }, 'a message was dropped');
  }

  #delivery({ channel, body: shared }: Message): Delivery {
    // A copy: the bytes that came share their memory with other messages.
    const body = new Uint8Array(shared);
    return this.#host.message(
      { topic: channel, id: randomUUID(), hasPlainId: true, headers: [], body, attempt: 1 },
      { kind: 'replies', settle: (verdict) => this.#settle(verdict) },
    );
  }

  #settle(verdict: Verdict): void {
    if (verdict.kind === 'accepted') return;
    if (verdict.outcome.status >= 400) this.#counters.failed.inc();
    // A stream that nobody reads would hold its function.
    if (isStream(verdict.outcome.body)) verdict.outcome.body.destroy();
  }
}
