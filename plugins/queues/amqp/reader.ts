import { AsyncLocalStorage } from 'node:async_hooks';
import type { Channel, ConsumeMessage } from 'amqplib';
import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';

/** An answer of the broker that takes longer will not come. */
export const timeoutMs = 5000;

export interface ReadOptions {
  readonly amqp: AmqpConnection;
  readonly stream: string;
  /** An offset, or the beginning of the last chunk. */
  readonly from: number | 'last';
  /** Messages that may be on their way. */
  readonly prefetch: number;
  readonly hear: (offset: number, message: Buffer) => void;
}

export interface Reading {
  /** Resolves with why when nothing more will come; also when it is closed. */
  readonly ended: Promise<Error>;
  close(): void;
}

/** Hands out a stream's messages in their order, each once, until it ends. Rejects when it cannot begin. */
export async function readStream({ amqp, stream, from, prefetch, hear }: ReadOptions): Promise<Reading> {
  const channel = await within(amqp.channel());
  const ended = Promise.withResolvers<Error>();
  let fault: Error | undefined;
  let open = true;
  let next = from === 'last' ? 0 : from;
  const end = (error: Error): void => {
    open = false;
    ended.resolve(error);
  };
  channel.on('error', (error: Error) => (fault = error));
  channel.on('close', () => end(fault ?? new Error('the channel was closed')));
  const acknowledge = acknowledger(channel, () => open);
  // What the client calls is the connection's; what is done with a message is its reader's.
  const deliver = AsyncLocalStorage.bind((message: ConsumeMessage | null): void => {
    if (!open) return;
    if (!message) {
      end(new Error(`the stream ${stream} was deleted, or is moving`));
      void close(channel);
      return;
    }
    acknowledge(message);
    const offset = Number(message.properties.headers?.['x-stream-offset']);
    // The broker begins with a whole chunk.
    if (offset < next) return;
    next = offset + 1;
    hear(offset, message.content);
  });
  try {
    await within(channel.prefetch(prefetch));
    await within(channel.consume(stream, deliver, { arguments: { 'x-stream-offset': from } }));
  } catch (error) {
    void close(channel);
    throw fault ?? error;
  }
  return {
    ended: ended.promise,
    close: () => {
      if (!open) return;
      end(new Error('it was closed'));
      void close(channel);
    },
  };
}

/** All that came in one turn is acknowledged together: on a stream that only asks for more. */
function acknowledger(channel: Channel, isOpen: () => boolean): (message: ConsumeMessage) => void {
  let last: ConsumeMessage | undefined;
  return (message) => {
    if (!last) {
      setImmediate(() => {
        const upTo = last;
        last = undefined;
        if (upTo && isOpen()) channel.ack(upTo, true);
      });
    }
    last = message;
  };
}

/** Closes a channel, which may be closed already, or belong to a connection that is. */
export async function close(channel: Channel): Promise<void> {
  try {
    await channel.close();
  } catch {
    // Then there is nothing to close.
  }
}

/** Rejects when it takes longer than the broker may. */
export async function within<Result>(answer: Promise<Result>): Promise<Result> {
  const stop = new AbortController();
  const late = sleep(timeoutMs, stop.signal).then(() => {
    throw new Error(`RabbitMQ did not answer within ${timeoutMs / 1000} s`);
  });
  late.catch(() => {
    // Also when the answer came first.
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    stop.abort();
  }
}

/** What callers of the journals are told. */
export function unavailable(message: string, cause?: unknown): MillraceError {
  const text = cause === undefined ? message : `${message}: ${messageOf(cause)}`;
  return new MillraceError('queue.unavailable', text, { cause, retryAfterSeconds: 1 });
}
