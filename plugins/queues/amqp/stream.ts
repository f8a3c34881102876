import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';
import { close, readStream, timeoutMs, within } from './reader.ts';

const settleMs = 50;

/**
 * No limit of age or size: the broker forgets whole files of a stream, never the newest one, and a stream of ours ends
 * long before it fills one. So nothing is forgotten, whatever a policy says.
 */
const streamArguments = { 'x-queue-type': 'stream', 'x-stream-max-segment-size-bytes': 2 ** 30 } as const;

/** Makes the stream unless it is there; rejects with `config.invalid` when what is there is something else. */
export async function declareStream(amqp: AmqpConnection, name: string): Promise<void> {
  const channel = await within(amqp.channel());
  try {
    await within(channel.assertQueue(name, { durable: true, arguments: streamArguments }));
  } catch (error) {
    throw refusalOf(error, name, amqp);
  } finally {
    void close(channel);
  }
}

/** RabbitMQ 3.10 says that a stream is declared a little before it can be read; whoever tries by then may lose more. */
export async function untilReadable(amqp: AmqpConnection, stream: string): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    await sleep(settleMs);
    try {
      (await readStream({ amqp, stream, from: 0, prefetch: 1, hear: () => {} })).close();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}

/** Whether there is a queue of that name, whatever it is. */
export async function hasStream(amqp: AmqpConnection, name: string): Promise<boolean> {
  const channel = await within(amqp.channel());
  try {
    await within(channel.checkQueue(name));
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  } finally {
    void close(channel);
  }
}

/** One that is not there is no error. */
export async function deleteStream(amqp: AmqpConnection, name: string): Promise<void> {
  const channel = await within(amqp.channel());
  try {
    await within(channel.deleteQueue(name));
  } catch (error) {
    if (!isMissing(error)) throw error;
  } finally {
    void close(channel);
  }
}

/** While its node is starting, RabbitMQ says 404 of a stream that is there, too, in other words. */
export function isMissing(error: unknown): boolean {
  return /NOT_FOUND - no queue/.test(messageOf(error));
}

function refusalOf(error: unknown, name: string, { server }: AmqpConnection): unknown {
  const text = messageOf(error);
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  const conflict = /PRECONDITION_FAILED - (inequivalent arg [^"]*)/.exec(text);
  if (conflict) {
    return invalid(
      `the queue ${name} is there, but not as this queue needs it: ${conflict[1]}. ` +
        'Give this queue another `streams` name, or remove that one',
    );
  }
  if (/ACCESS_REFUSED/.test(text)) {
    return invalid(
      `the user may not declare the stream ${name}: it needs the permissions to configure, write and read it`,
    );
  }
  if (/PRECONDITION_FAILED|NOT_IMPLEMENTED|COMMAND_INVALID/.test(text)) {
    return invalid(
      `${server.product} ${server.version} refuses the stream ${name}: ${text}. A queue needs RabbitMQ 3.9 or later ` +
        'with the feature flag stream_queue (`rabbitmqctl enable_feature_flag stream_queue`)',
    );
  }
  return error;
}
