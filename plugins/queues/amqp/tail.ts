import type { ConfirmChannel, Message } from 'amqplib';
import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';
import { decode, encode, type StreamMessage } from './entry.ts';
import { close, readStream, timeoutMs, within } from './reader.ts';
import { scanToEnd } from './scan.ts';

export interface TailOptions {
  readonly amqp: AmqpConnection;
  readonly stream: string;
  /** The offset that it begins with. */
  readonly next: number;
  /** Each message, in its order, once. `message` is undefined when it is not one of ours. */
  readonly hear: (offset: number, message: StreamMessage | undefined, content: Buffer) => void;
}

const prefetch = 64;

/** One stream read at its end, and written to: what is written is known to be taken, and where, when it comes back. */
export class Tail {
  /** Resolves with why when it can go on no more. */
  readonly ended: Promise<Error>;
  readonly #stream: string;
  readonly #channel: ConfirmChannel;
  readonly #end: (error: Error) => void;

  /** Rejects when it cannot begin; with `config.invalid` when the stream is another one now. */
  static async begin(options: TailOptions, refuse: (id: string, error: Error) => void): Promise<Tail> {
    const { amqp, stream, next, hear } = options;
    const channel = await within(amqp.confirmChannel());
    try {
      const tail = new Tail(stream, channel, refuse);
      // The message before it is there, if this is the stream that it was: so it is known that reading works, too.
      const begun = Promise.withResolvers<boolean>();
      if (next === 0) begun.resolve(true);
      const reading = await readStream({
        amqp,
        stream,
        from: Math.max(0, next - 1),
        prefetch,
        hear: (offset, content) => {
          begun.resolve(true);
          if (offset >= next) hear(offset, decode(content), content);
        },
      });
      void tail.ended.then(() => reading.close());
      void reading.ended.then(tail.#end);
      const stop = new AbortController();
      const late = sleep(timeoutMs, stop.signal).then(() => false);
      const heard = await Promise.race([begun.promise, late, tail.ended]);
      stop.abort();
      if (heard === true) return tail;
      tail.close();
      if (heard !== false) throw heard;
      await expectBefore(options);
      throw new Error(`nothing came of the stream ${stream}`);
    } catch (error) {
      void close(channel);
      throw error;
    }
  }

  private constructor(stream: string, channel: ConfirmChannel, refuse: (id: string, error: Error) => void) {
    this.#stream = stream;
    this.#channel = channel;
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.ended = promise;
    this.#end = resolve;
    let fault: Error | undefined;
    channel.on('error', (error: Error) => (fault = error));
    channel.on('close', () => resolve(fault ?? new Error('the channel was closed')));
    channel.on('return', ({ content }: Message) => {
      const { id } = decode(content) ?? {};
      const error = new Error(`NOT_FOUND - no queue '${stream}'`);
      if (id !== undefined) refuse(id, error);
      resolve(error);
    });
    this.#refuse = refuse;
  }
  readonly #refuse: (id: string, error: Error) => void;

  /** What becomes of it is told by `hear`, or by `refuse`. */
  write(message: StreamMessage): void {
    const content = encode(message);
    try {
      this.#channel.publish('', this.#stream, content, { mandatory: true, persistent: true }, (error: unknown) => {
        if (error) this.#refuse(message.id, new Error(`RabbitMQ did not take it: ${messageOf(error)}`));
      });
    } catch (error) {
      this.#refuse(message.id, error as Error);
    }
  }

  close(): void {
    this.#end(new Error('it was closed'));
    void close(this.#channel);
  }
}

async function expectBefore({ amqp, stream, next }: TailOptions): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs);
  const end = await scanToEnd({ amqp, stream, from: 'last', signal, hear: () => false });
  if (end >= next) return;
  throw new MillraceError(
    'config.invalid',
    `the stream ${stream} ends at ${end}, and ${next - 1} was read of it: it was made anew, or its end was lost`,
  );
}
