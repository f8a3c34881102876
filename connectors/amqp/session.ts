import { AsyncLocalStorage } from 'node:async_hooks';
import type { Channel, ConsumeMessage } from 'amqplib';
import { MillraceError } from '../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../plugins/connections/amqp/connection.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { answered, closeChannel } from './channel.ts';
import { offsetOf } from './message.ts';

/** How often the queue is looked at: how much waits there, and whether the broker still knows this consumer. */
const watchMs = 5000;

export interface SessionOptions {
  readonly amqp: AmqpConnection;
  readonly queue: string;
  readonly isStream: boolean;
  /** What the broker may lend at once. */
  readonly prefetch: number;
  /** What the broker shows the consumer as. */
  readonly tag: string;
  /** Where in a stream it begins. */
  readonly from: unknown;
  /** Not called any more once the session has ended. */
  readonly hear: (message: ConsumeMessage, session: Session) => void;
}

/**
 * One consumer on a channel of its own, for as long as both last. Messages are acknowledged on the channel that they came
 * by, or not at all: on another one their number is another message's, or none, which the broker closes that channel for.
 */
export class Session {
  /** Resolves with why nothing more comes. */
  readonly ended: Promise<Error>;
  readonly #options: SessionOptions;
  readonly #channel: Channel;
  readonly #acknowledgements: Acknowledgements;
  readonly #end: (reason: Error) => void;
  #isOpen = true;
  #watch: NodeJS.Timeout | undefined;
  #tag: string | undefined;
  #depth: number | undefined;
  /** How often in a row the broker knew nothing of the consumer. */
  #unknown = 0;

  /** Rejects when it cannot begin. */
  static async open(options: SessionOptions): Promise<Session> {
    const channel = await answered(options.amqp.channel());
    const session = new Session(options, channel);
    try {
      await session.#consume();
      return session;
    } catch (error) {
      session.#end(error as Error);
      void closeChannel(channel);
      throw error;
    }
  }

  private constructor(options: SessionOptions, channel: Channel) {
    this.#options = options;
    this.#channel = channel;
    this.#acknowledgements = new Acknowledgements(channel, options.prefetch, (error) => this.end(error));
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.ended = promise;
    let fault: Error | undefined;
    this.#end = (reason) => {
      this.#isOpen = false;
      clearInterval(this.#watch);
      resolve(reason);
    };
    channel.on('error', (error: Error) => (fault = error));
    channel.on('close', () => this.#end(fault ?? new Error('the channel was closed')));
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** How many messages wait in the queue, as it was told last; of a stream nobody tells. */
  get depth(): number | undefined {
    return this.#depth;
  }

  /** Returns whether it was said; it is not when the broker has taken the message back. */
  acknowledge(message: ConsumeMessage): boolean {
    if (!this.#isOpen) return false;
    this.#acknowledgements.settled(message);
    return true;
  }

  /** Lets others have it. */
  handBack(message: ConsumeMessage): void {
    if (!this.#isOpen) return;
    this.#acknowledgements.handedBack(message);
    this.#channel.nack(message, false, true);
  }

  /** Takes nothing more; what came can still be acknowledged. */
  async stopTaking(): Promise<void> {
    clearInterval(this.#watch);
    if (!this.#isOpen || this.#tag === undefined) return;
    try {
      await answered(this.#channel.cancel(this.#tag));
    } catch (error) {
      this.end(error as Error);
    }
  }

  /** Ends it: the broker takes back what is not acknowledged. */
  end(reason: Error): void {
    if (!this.#isOpen) return;
    this.#end(reason);
    this.#acknowledgements.flush();
    void closeChannel(this.#channel);
  }

  /** As above, and resolves when the broker has done so. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#end(new Error('it was closed'));
    this.#acknowledgements.flush();
    await closeChannel(this.#channel);
  }

  async #consume(): Promise<void> {
    const { queue, prefetch, tag, isStream, from } = this.#options;
    // What the client calls is the connection's; what is done with a message is the connector's.
    const hear = AsyncLocalStorage.bind((message: ConsumeMessage | null) => this.#hear(message));
    const look = AsyncLocalStorage.bind(() => void this.#look());
    await answered(this.#channel.prefetch(prefetch));
    const more = isStream ? { arguments: { 'x-stream-offset': from } } : {};
    const { consumerTag } = await answered(this.#channel.consume(queue, hear, { consumerTag: tag, ...more }));
    if (!this.#isOpen) throw await this.ended;
    this.#tag = consumerTag;
    this.#watch = setInterval(look, watchMs);
    void this.#look();
  }

  #hear(message: ConsumeMessage | null): void {
    if (!this.#isOpen) return;
    const { queue, isStream, hear } = this.#options;
    if (!message)
      return this.end(new Error(`RabbitMQ ended the consumer: the queue ${queue} was deleted, or is moving`));
    if ((offsetOf(message) !== undefined) !== isStream) {
      const text = `the queue ${queue} is ${isStream ? 'no' : 'a'} stream: correct its \`type\``;
      return this.end(new MillraceError('config.invalid', text));
    }
    this.#acknowledgements.received(message);
    hear(message, this);
  }

  async #look(): Promise<void> {
    const { queue, isStream } = this.#options;
    try {
      const { messageCount, consumerCount } = await answered(this.#channel.checkQueue(queue));
      if (isStream) return;
      this.#depth = messageCount;
      // Those of a quorum queue are counted a little later.
      this.#unknown = consumerCount === 0 ? this.#unknown + 1 : 0;
      if (this.#unknown > 1) this.end(new Error('RabbitMQ knows no consumer of the queue any more'));
    } catch (error) {
      this.end(error as Error);
    }
  }
}
