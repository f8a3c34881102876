import type { Channel } from 'amqplib';
import { sleep } from '../../core/contracts/clock.ts';

/** An answer of the broker that takes longer will not come. */
const answerMs = 5000;

/** Rejects when it takes longer than the broker may. */
export async function answered<Result>(answer: Promise<Result>): Promise<Result> {
  const stop = new AbortController();
  const late = sleep(answerMs, stop.signal).then((isLate) => {
    if (isLate) throw new Error(`RabbitMQ did not answer within ${answerMs / 1000} s`);
    return answer;
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    stop.abort();
  }
}

/** Closes a channel, which may be closed already, or belong to a connection that is. */
export async function closeChannel(channel: Channel): Promise<void> {
  try {
    await answered(channel.close());
  } catch {
    // Then there is nothing to close.
  }
}

/** Hands out a channel for one purpose, and closes it after that; the broker may have closed it on an error. */
export async function onChannel<Opened extends Channel, Result>(
  opening: Promise<Opened>,
  use: (channel: Opened) => Promise<Result>,
): Promise<Result> {
  const channel = await answered(opening);
  try {
    return await use(channel);
  } finally {
    void closeChannel(channel);
  }
}
