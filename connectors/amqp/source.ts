import type { ConsumeMessage } from 'amqplib';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { AmqpConnection } from '../../plugins/connections/amqp/connection.ts';
import type { AmqpConnectorConfig } from './config.ts';
import { offsetOf } from './message.ts';
import { Position, PositionLost } from './position.ts';
import { Session } from './session.ts';
import { claim, isAnother, release } from './stream.ts';

/** How often it is written how far a stream has been dealt with: so much of it runs twice after a crash. */
const writeMs = 500;
/** How far the settled ones of a stream may get ahead of one that is not, in what the broker lends. */
const mostAhead = 16;

export interface OpenOptions {
  readonly declare: () => Promise<{ readonly made: boolean }>;
  readonly prefetch: number;
  readonly tag: string;
  readonly hear: (message: ConsumeMessage, session: Session) => void;
  readonly signal: AbortSignal;
}

/** What differs between a queue, which forgets what is acknowledged, and a stream, which forgets nothing. */
export interface Source {
  /** Another gateway reads it. */
  readonly isStandby: boolean;
  /** Which stream it is, of all that had its name; unset of queues. */
  readonly generation: string | undefined;
  /** Undefined while another gateway reads it. */
  open(options: OpenOptions): Promise<Session | undefined>;
  /** It was seen to be deleted. */
  isGone(): void;
  /** Returns whether it is to be run: not what has been dealt with. */
  received(message: ConsumeMessage): boolean;
  /** Whether it may be one that runs here already. */
  mayRun(message: ConsumeMessage): boolean;
  settled(message: ConsumeMessage, session: Session): void;
  close(): Promise<void>;
}

/** A quorum queue or a classic one. */
export class QueueSource implements Source {
  readonly isStandby = false;
  readonly generation = undefined;
  readonly #name: string;
  readonly #amqp: AmqpConnection;

  constructor(name: string, amqp: AmqpConnection) {
    this.#name = name;
    this.#amqp = amqp;
  }

  async open({ declare, ...options }: OpenOptions): Promise<Session> {
    await declare();
    return Session.open({ ...options, amqp: this.#amqp, queue: this.#name, isStream: false, from: undefined });
  }

  isGone(): void {
    // What is there anew holds what is new.
  }

  received(): boolean {
    return true;
  }

  mayRun({ fields }: ConsumeMessage): boolean {
    return fields.redelivered;
  }

  settled(message: ConsumeMessage, session: Session): void {
    session.acknowledge(message);
  }

  async close(): Promise<void> {
    // It keeps nothing.
  }
}

/** A stream: read by one gateway at a time, from where the store says that all before has been dealt with. */
export class StreamSource implements Source {
  readonly #name: string;
  readonly #lock: string;
  readonly #host: ConnectorHost;
  readonly #amqp: AmqpConnection;
  readonly #position: Position;
  #isStandby = false;
  #wasGone = false;
  #most = 0;
  #session: Session | undefined;
  /** Settled, and not acknowledged before older ones are: the broker sends nothing more for them. */
  readonly #withheld: ConsumeMessage[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor({ queue: { name }, consumer, start }: AmqpConnectorConfig, host: ConnectorHost, amqp: AmqpConnection) {
    const reader = consumer ?? host.name;
    this.#name = name;
    this.#lock = `${name}.${reader}.reader`;
    this.#host = host;
    this.#amqp = amqp;
    this.#position = new Position(() => host.store(), `amqp/${reader}/${name}`, start);
  }

  get isStandby(): boolean {
    return this.#isStandby;
  }

  get generation(): string {
    return this.#position.generation;
  }

  async open({ declare, signal, ...options }: OpenOptions): Promise<Session | undefined> {
    const { made } = await declare();
    this.#wasGone ||= made;
    this.#isStandby = !(await claim(this.#amqp, this.#lock));
    if (this.#isStandby) return undefined;
    const position = this.#position;
    await position.load(this.#host.clock.now());
    if (this.#wasGone || (await isAnother(this.#amqp, this.#name, position))) {
      if (position.next !== undefined) {
        this.#host.logger.warn({ stream: this.#name }, 'the stream was made anew: reading it from its beginning');
        position.reset();
        await position.flush();
      }
      this.#wasGone = false;
    }
    signal.throwIfAborted();
    this.#withheld.length = 0;
    this.#most = mostAhead * options.prefetch;
    const from = position.attach();
    const session = await Session.open({ ...options, amqp: this.#amqp, queue: this.#name, isStream: true, from });
    this.#session = session;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => void this.#write(session), writeMs);
    void session.ended.then(() => clearInterval(this.#timer));
    return session;
  }

  isGone(): void {
    this.#wasGone = true;
  }

  received(message: ConsumeMessage): boolean {
    const offset = offsetOf(message) ?? 0;
    // The broker begins with a whole chunk.
    if (offset < (this.#position.next ?? 0)) return false;
    this.#position.received(offset, message);
    return true;
  }

  mayRun(): boolean {
    return true;
  }

  settled(message: ConsumeMessage, session: Session): void {
    this.#position.settled(offsetOf(message) ?? 0);
    this.#withheld.push(message);
    if (this.#position.span >= this.#most) return;
    for (const one of this.#withheld.splice(0)) session.acknowledge(one);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#session) await this.#write(this.#session);
    if (this.#session && this.#amqp.connected) await release(this.#amqp, this.#lock);
  }

  async #write(session: Session): Promise<void> {
    try {
      await this.#position.flush();
    } catch (error) {
      this.#host.logger.warn({ err: error, stream: this.#name }, 'the place in the stream could not be written down');
      if (error instanceof PositionLost) session.end(error);
    }
  }
}
