import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { isWritten, queuesOf } from '../support/rabbitmqctl.ts';
import type { CrashConnector } from './connectors.ts';

/** A quorum queue for each mode. */
export const amqp: CrashConnector = {
  kind: 'amqp',
  broker: 'amqp',
  acks: ['processed', 'enqueued'],
  // So that RabbitMQ soon takes back what a stopped gateway has.
  connection: (url) => `url: "${url}", heartbeat: 1s`,
  connector: (topic) => `queue: { name: ${topic} }`,
  failpoints: [],
  stallMs: 4000,
  open: async (broker) => {
    const producer = new AmqpProducer(broker.url);
    for (const queue of amqp.acks) {
      await producer.declare(queue);
      if (!process.env['NOWAIT']) await isWritten(broker, queue);
    }
    return {
      publish: (topic, body) => producer.publish(topic, body),
      left: async () => {
        const rows = await queuesOf(broker);
        return rows.reduce((sum, row) => sum + row.messages_ready + row.messages_unacknowledged, 0);
      },
      close: () => producer.close(),
    };
  },
};

/** amqplib as anybody uses it, with confirms; dialled again when its connection was lost. */
class AmqpProducer {
  readonly #url: string;
  #client: ChannelModel | undefined;
  #opening: Promise<ConfirmChannel> | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  async declare(queue: string): Promise<void> {
    const channel = await this.#channel();
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  }

  async publish(queue: string, body: Buffer): Promise<void> {
    const channel = await this.#channel();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const lost = (): void => reject(new Error('the channel was closed'));
    channel.once('close', lost);
    // A queue that has no leader yet may drop what comes, and never confirm it.
    const late = setTimeout(() => reject(new Error('it was not confirmed in time')), 2000);
    try {
      channel.publish('', queue, body, { persistent: true }, (error: unknown) => (error ? lost() : resolve()));
      await promise;
    } finally {
      clearTimeout(late);
      channel.off('close', lost);
    }
  }

  async close(): Promise<void> {
    await this.#client?.close().catch(() => undefined); // It may have died with its broker.
  }

  #channel(): Promise<ConfirmChannel> {
    this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #open(): Promise<ConfirmChannel> {
    this.#client = await connect(this.#url, { timeout: 1000 });
    this.#client.on('error', () => undefined); // `close` follows.
    this.#client.on('close', () => (this.#opening = undefined));
    const channel = await this.#client.createConfirmChannel();
    channel.on('error', () => undefined);
    channel.setMaxListeners(0);
    return channel;
  }
}
