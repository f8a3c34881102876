import { AsyncLocalStorage } from 'node:async_hooks';
import { createInbox, type Msg, nanos, type Subscription } from 'nats';
import type { NatsConnection } from '../../plugins/connections/nats/connection.ts';

/** So long after a request has run out the server may still say so. */
const graceMs = 1000;

export interface PullerParts {
  readonly nats: NatsConnection;
  readonly stream: string;
  readonly durable: string;
  readonly receive: (message: Msg) => void;
}

interface Asked {
  readonly inbox: string;
  left: number;
  readonly end: (error?: Error) => void;
}

/**
 * Asks a pull consumer for messages, one request at a time, by the protocol of the server
 * (https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md). The client's own `fetch` subscribes
 * anew for each request and hands each message through two promises, which costs more than the message.
 */
export class Puller {
  readonly #nats: NatsConnection;
  readonly #subject: string;
  readonly #receive: (message: Msg) => void;
  /** What the client calls is the connection's; what is done with a message is the connector's. */
  readonly #hear = AsyncLocalStorage.bind((error: Error | null, message: Msg) => this.#heard(error, message));
  #inbox = '';
  #subscription: Subscription | undefined;
  #asked: Asked | undefined;
  #count = 0;

  constructor({ nats, stream, durable, receive }: PullerParts) {
    this.#nats = nats;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`;
    this.#receive = receive;
  }

  /**
   * Resolves when so many messages have been received, or the server has no more for this request. Not left earlier, at a
   * stop either: what the server sends by then would be lent to nobody, and a request that nobody listens to has NATS 2.9
   * lose what is handed back next. Rejects with what the server says against it, and with `connection.unavailable` when the connection is
   * lost.
   */
  async ask(count: number, expiresMs: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let isAnswered = false;
    const end = (error?: Error): void => {
      isAnswered = true;
      if (error) reject(error);
      else resolve();
    };
    const giveUp = (): void => resolve();
    const timer = setTimeout(giveUp, expiresMs + graceMs);
    try {
      await this.#nats.while((client) => {
        this.#inbox ||= createInbox();
        this.#subscription ??= client.subscribe(`${this.#inbox}.*`, { callback: this.#hear });
        const inbox = `${this.#inbox}.${++this.#count}`;
        this.#asked = { inbox, left: count, end };
        client.publish(this.#subject, JSON.stringify({ batch: count, expires: nanos(expiresMs) }), { reply: inbox });
        return promise;
      });
    } finally {
      clearTimeout(timer);
      this.#asked = undefined;
      // What still comes is for nobody: the server gives it again.
      if (!isAnswered) this.#close();
    }
  }

  #close(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    this.#inbox = '';
  }

  #heard(error: Error | null, message: Msg): void {
    const asked = this.#asked;
    if (!asked) return;
    if (error) return asked.end(error);
    // Only what is to be acknowledged says where to.
    if (!message.reply) return this.#status(asked, message);
    try {
      this.#receive(message);
    } catch (thrown) {
      return asked.end(thrown as Error);
    }
    asked.left--;
    if (asked.left === 0) asked.end();
  }

  #status(asked: Asked, { subject, headers }: Msg): void {
    if (subject !== asked.inbox) return;
    const { code = 0, description = '' } = headers ?? {};
    if (code === 100) return; // A heartbeat.
    const isOver = code === 404 || code === 408; // There is nothing, or its time is over.
    asked.end(isOver ? undefined : new Error(`the server gives no messages: ${code} ${description}`));
  }
}
