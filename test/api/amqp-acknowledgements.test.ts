import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Channel, type ChannelModel, connect, type ConsumeMessage } from 'amqplib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Acknowledgements } from '../../connectors/amqp/acknowledgements.ts';
import { describeWithBroker } from '../support/with-broker.ts';

const bodies = Array.from({ length: 12 }, (_, index) => `m${index}`);

await describeWithBroker('amqp', 'acknowledgements of connector amqp', (url) => {
  let client: ChannelModel;
  beforeAll(async () => {
    client = await connect(url);
  });
  afterAll(() => client?.close());

  /** A queue with the bodies, all of them lent on a channel. */
  async function lent(): Promise<{ channel: Channel; messages: ConsumeMessage[]; left: () => Promise<string[]> }> {
    const queue = `q-${randomUUID().slice(0, 8)}`;
    const sender = await client.createConfirmChannel();
    await sender.assertQueue(queue, { expires: 60_000 });
    for (const body of bodies) sender.sendToQueue(queue, Buffer.from(body));
    await sender.waitForConfirms();
    const channel = await client.createChannel();
    const messages: ConsumeMessage[] = [];
    await channel.consume(queue, (message) => message && messages.push(message));
    await expect.poll(() => messages.length).toBe(bodies.length);
    /** What the broker gives again once the channel is gone. */
    const left = async (): Promise<string[]> => {
      await channel.close();
      const found: string[] = [];
      for (let message = await sender.get(queue); message; message = await sender.get(queue)) {
        found.push(message.content.toString());
      }
      return found.toSorted();
    };
    return { channel, messages, left };
  }

  /** Settles in that order, telling the broker after each of the parts; returns what it still has. */
  async function leftAfter(
    parts: readonly (readonly number[])[],
    told = (channel: Channel): Pick<Channel, 'ack'> => channel,
  ): Promise<string[]> {
    const { channel, messages, left } = await lent();
    const acknowledgements = new Acknowledgements(told(channel), 1000, (error) => expect.unreachable(error.message));
    for (const message of messages) acknowledgements.received(message);
    for (const part of parts) {
      for (const index of part) acknowledgements.settled(messages[index]!);
      acknowledgements.flush();
    }
    return left();
  }
  const without = (settled: readonly number[]): string[] =>
    bodies.filter((_, index) => !settled.includes(index)).toSorted();

  it.each([
    ['in order', [[0, 1, 2], [3, 4], [5]]],
    ['backwards', [[5, 4, 3, 2, 1, 0]]],
    [
      'over one that is outstanding',
      [
        [1, 2, 4],
        [5, 3],
      ],
    ],
    [
      'up to one that was told before',
      [
        [3, 2],
        [1, 0],
      ],
    ],
    ['over several, that end later', [[2, 5], [0], [7, 1], [4, 3]]],
    [
      'all',
      [
        [11, 0, 10, 1],
        [9, 2, 8, 3, 7, 4, 6, 5],
      ],
    ],
  ])('leave the broker what is not settled: %s', async (_, parts) => {
    expect(await leftAfter(parts)).toEqual(without(parts.flat()));
  });

  it('are found out when they tell more than is settled', async () => {
    const parts = [[1, 2]];
    const planted = await leftAfter(parts, (channel) => ({ ack: (message) => channel.ack(message, true) }));
    expect(planted).not.toEqual(without(parts.flat()));
  });

  it('pass over what was handed back', async () => {
    const { channel, messages, left } = await lent();
    const acknowledgements = new Acknowledgements(channel, 1000, (error) => expect.unreachable(error.message));
    for (const message of messages) acknowledgements.received(message);
    const [first, second, ...others] = messages as [ConsumeMessage, ConsumeMessage, ...ConsumeMessage[]];
    acknowledgements.settled(second);
    acknowledgements.handedBack(first);
    channel.nack(first, false, false);
    for (const message of others) acknowledgements.settled(message);
    acknowledgements.flush();
    expect(await left()).toEqual([]);
  });

  it('are told without being asked to, at the latest when the broker may lend no more', async () => {
    for (const prefetch of [1, 1000]) {
      const { channel, messages, left } = await lent();
      const tags: number[] = [];
      const told = { ack: ({ fields }: ConsumeMessage) => tags.push(fields.deliveryTag) } as unknown as Channel;
      const acknowledgements = new Acknowledgements(told, prefetch, (error) => expect.unreachable(error.message));
      const [first] = messages as [ConsumeMessage];
      acknowledgements.received(first);
      acknowledgements.settled(first);
      if (prefetch === 1) expect(tags).toEqual([1]);
      await expect.poll(() => tags).toEqual([1]);
      channel.ack(first);
      await left();
    }
  });

  it('are told as lost when the channel is', async () => {
    const { channel, messages } = await lent();
    const failures: Error[] = [];
    const acknowledgements = new Acknowledgements(channel, 1000, (error) => failures.push(error));
    await channel.close();
    acknowledgements.settled(messages[0]!);
    await expect.poll(() => failures.length).toBe(1);
    await sleep(0);
    expect(failures).toHaveLength(1);
  });
});
