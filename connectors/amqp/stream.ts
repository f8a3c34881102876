import type { ConsumeMessage } from 'amqplib';
import { sleep } from '../../core/contracts/clock.ts';
import { messageOf } from '../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../plugins/connections/amqp/connection.ts';
import { answered, onChannel } from './channel.ts';
import { fingerprintOf, offsetOf } from './message.ts';
import type { Position } from './position.ts';

/** So long is waited for a message that should be there. */
const firstMs = 3000;
/** After the first one of a chunk the others come at once. */
const quietMs = 1000;
/** More of the end of a stream is not read to find out where that is. */
const mostRead = 10_000;

/**
 * Whether this gateway is the one that reads the stream. The broker gives each consumer of a stream all of it, so that of
 * several gateways only one may: the one that has an exclusive queue of that name, which the broker removes with its
 * connection.
 */
export async function claim(amqp: AmqpConnection, lock: string): Promise<boolean> {
  try {
    await onChannel(amqp.channel(), (channel) =>
      answered(channel.assertQueue(lock, { exclusive: true, durable: false, autoDelete: false })),
    );
    return true;
  } catch (error) {
    if (/RESOURCE_LOCKED/.test(messageOf(error))) return false;
    throw error;
  }
}

/** Lets another gateway read it. */
export async function release(amqp: AmqpConnection, lock: string): Promise<void> {
  await onChannel(amqp.channel(), (channel) => answered(channel.deleteQueue(lock)));
}

/**
 * Whether the stream is another one than the position is of: it ends before that, or has something else there. Nobody
 * tells that a stream was deleted and made anew while nobody read it.
 */
export async function isAnother(amqp: AmqpConnection, stream: string, { next = 0, mark }: Position): Promise<boolean> {
  const before = next - 1;
  if (before < 0) return false;
  const found = await lastOf(amqp, stream, before, () => true);
  // What retention has removed leaves nothing to compare with.
  if (found) return offsetOf(found) === before && mark !== undefined && fingerprintOf(found) !== mark;
  const last = await lastOf(amqp, stream, 'last', (offset) => offset >= before);
  return last === undefined || (offsetOf(last) ?? -1) < before;
}

/**
 * The last message that comes from there until there is enough, or nothing more comes for a while. Undefined when the
 * broker has none from there; rejects when that is not sure.
 */
function lastOf(
  amqp: AmqpConnection,
  stream: string,
  from: number | 'last',
  isEnough: (offset: number) => boolean,
): Promise<ConsumeMessage | undefined> {
  return onChannel(amqp.channel(), async (channel) => {
    let last: ConsumeMessage | undefined;
    let count = 0;
    let isClosed = false;
    let heard = new AbortController();
    const isOver = (): boolean =>
      isClosed || count >= mostRead || (last !== undefined && isEnough(offsetOf(last) ?? 0));
    const wake = (): void => heard.abort();
    channel.on('close', () => {
      isClosed = true;
      wake();
    });
    await answered(channel.prefetch(100));
    const hear = (message: ConsumeMessage | null): void => {
      if (isOver()) return;
      if (message) channel.ack((last = message));
      else isClosed = true;
      count++;
      wake();
    };
    await answered(channel.consume(stream, hear, { arguments: { 'x-stream-offset': from } }));
    while (!isOver() && !(await sleep(last ? quietMs : firstMs, heard.signal))) heard = new AbortController();
    if (isClosed) throw new Error('the channel was closed');
    // A broker that is not quick enough now has to be asked again later.
    const { messageCount } = await answered(channel.checkQueue(stream));
    if (!last && from === 'last' && messageCount > 0) throw new Error(`nothing came of the stream ${stream}`);
    return last;
  });
}
