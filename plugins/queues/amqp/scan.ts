import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';
import { createMark, decode, encode, type StreamMessage } from './entry.ts';
import { close, readStream, timeoutMs, within } from './reader.ts';

export interface ScanOptions {
  readonly amqp: AmqpConnection;
  readonly stream: string;
  readonly from: number | 'last';
  readonly signal: AbortSignal;
  /** Returns whether that was the last one wanted. `message` is undefined when it is not one of ours. */
  readonly hear: (offset: number, message: StreamMessage | undefined, content: Buffer) => boolean;
}

const prefetch = 32;
/** So long is a mark waited for before it is written again. */
const againMs = 200;

/** Reads a part of a stream. Rejects when it could not be read to its end, or nothing comes for too long. */
export async function scan({ amqp, stream, from, signal, hear }: ScanOptions): Promise<void> {
  signal.throwIfAborted();
  const done = Promise.withResolvers<undefined>();
  let heardAt = performance.now();
  let over = false;
  const reading = await readStream({
    amqp,
    stream,
    from,
    prefetch,
    hear: (offset, content) => {
      if (over) return;
      heardAt = performance.now();
      try {
        over = hear(offset, decode(content), content);
        if (over) done.resolve(undefined);
      } catch (error) {
        over = true;
        done.reject(error);
      }
    },
  });
  const watch = setInterval(() => {
    if (performance.now() - heardAt > timeoutMs) done.reject(new Error(`nothing came of the stream ${stream}`));
  }, timeoutMs / 5);
  const abort = (): void => done.reject(new Error('nobody reads any more'));
  signal.addEventListener('abort', abort, { once: true });
  try {
    const reason = await Promise.race([done.promise, reading.ended]);
    if (reason) throw reason;
  } finally {
    clearInterval(watch);
    signal.removeEventListener('abort', abort);
    reading.close();
  }
}

/**
 * Reads a stream from there to its end, and returns the offset of that. The broker does not tell it: a mark is written,
 * and read up to.
 */
export async function scanToEnd(options: ScanOptions): Promise<number> {
  const { amqp, stream, hear } = options;
  const mark = createMark();
  let end = -1;
  const reading = scan({
    ...options,
    hear: (offset, message, content) => {
      if (message?.id !== mark.id) return hear(offset, message, content);
      end = offset;
      return true;
    },
  });
  // One that is written while the reading begins may be before the chunk that is the last one by then.
  const over = new AbortController();
  const done = reading.finally(() => over.abort());
  // Awaited below; it may fail before.
  done.catch(() => {});
  do await publish(amqp, stream, encode(mark));
  while (await sleep(againMs, over.signal));
  await done;
  return end;
}

/** Resolves once the broker has taken it. */
export async function publish(amqp: AmqpConnection, stream: string, message: Buffer): Promise<void> {
  const channel = await within(amqp.confirmChannel());
  const taken = Promise.withResolvers<void>();
  channel.on('return', () => taken.reject(new Error(`NOT_FOUND - no queue '${stream}'`)));
  channel.on('error', (error: Error) => taken.reject(error));
  channel.on('close', () => taken.reject(new Error('the channel was closed')));
  channel.publish('', stream, message, { mandatory: true, persistent: true }, (error: unknown) =>
    error ? taken.reject(new Error(`RabbitMQ did not take a message: ${messageOf(error)}`)) : taken.resolve(),
  );
  try {
    await within(taken.promise);
  } finally {
    void close(channel);
  }
}
