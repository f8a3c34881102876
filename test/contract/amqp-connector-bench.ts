import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { amqpConnectorConfig } from '../../connectors/amqp/config.ts';
import { AmqpConnector } from '../../connectors/amqp/connector.ts';
import { sleep } from '../../core/contracts/clock.ts';
import type { Connector } from '../../core/contracts/connector.ts';
import {
  brokerTraits,
  type ConnectorBench,
  type ConnectorTraits,
  type Outgoing,
} from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import type { Amqp } from '../../plugins/connections/amqp/connection.ts';
import { startBroker } from '../support/brokers.ts';
import { isWritten, queuesOf } from '../support/rabbitmqctl.ts';
import { dial } from './amqp-bench.ts';

/**
 * A quorum queue. What a run lost with its channel comes again, and is known: the run is that of the message that came
 * again, so that a word of it counts. Hence there is no `lose` for a gateway that lives on.
 */
export const amqpTraits: ConnectorTraits = brokerTraits;

const confirmMs = 3000;
let count = 0;

/** A quorum queue of its own on that server, or on one of its own without. */
export async function amqpConnectorBench(url: string | undefined): Promise<ConnectorBench> {
  const queue = `trial-${process.pid}-${++count}`;
  const own = url === undefined ? await startBroker('amqp') : undefined;
  const server = own?.url ?? url ?? '';
  const sender = new Sender(server, queue);
  const dialled: Amqp[] = [];
  const open = async (settings: Record<string, unknown> = {}): Promise<Connector> => {
    const amqp = await dial(server);
    dialled.push(amqp);
    const config = amqpConnectorConfig.parse({ queue: { name: queue, ...settings } });
    const connector = new AmqpConnector(config, connectorHost('amqp', { connection: amqp }), amqp);
    await connector.start();
    return connector;
  };
  await (await sender.open()).assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  return {
    kind: 'amqp',
    topic: queue,
    open: () => open(),
    send: (messages) => sender.send(messages),
    ...(own && {
      // Only its own tools tell what is lent; they take half a second each.
      left: async () => {
        const row = (await queuesOf(own)).find(({ name }) => name === queue);
        return row ? row.messages_ready + row.messages_unacknowledged : 0;
      },
      away: async () => {
        await isWritten(own, queue);
        await own.kill();
        return () => own.restart();
      },
    }),
    refused: [
      {
        what: 'a queue that is not there',
        start: () => open({ name: `${queue}-none`, declare: false }),
        names: `there is no queue ${queue}-none`,
      },
      {
        what: 'a queue of another type',
        start: () => open({ type: 'classic' }),
        names: "inequivalent arg 'x-queue-type'",
      },
    ],
    dispose: async () => {
      if (!own) await (await sender.open()).deleteQueue(queue);
      await sender.close();
      for (const amqp of dialled) await amqp.stop(500);
      await own?.dispose();
    },
  };
}

/** A producer as anybody's: amqplib with confirms, opened again when its connection was lost. */
class Sender {
  readonly #url: string;
  readonly #queue: string;
  #client: ChannelModel | undefined;
  #channel: ConfirmChannel | undefined;

  constructor(url: string, queue: string) {
    this.#url = url;
    this.#queue = queue;
  }

  async open(): Promise<ConfirmChannel> {
    if (this.#channel) return this.#channel;
    const client = await connect(this.#url);
    const channel = await client.createConfirmChannel();
    for (const emitter of [client, channel]) {
      emitter.on('error', () => undefined);
      emitter.on('close', () => {
        if (this.#channel === channel) this.#client = this.#channel = undefined;
      });
    }
    this.#client = client;
    this.#channel = channel;
    return channel;
  }

  /** With the attributes of an event as the AMQP binding has them; resolves when the broker has confirmed all. */
  async send(messages: readonly Outgoing[]): Promise<void> {
    const channel = await this.open();
    for (const { body, headers = {}, event = {} } of messages) {
      const { 'content-type': contentType, ...others } = headers;
      const attributes = Object.entries(event).map(([name, value]) => [`cloudEvents:${name}`, value] as const);
      channel.publish('', this.#queue, Buffer.from(body), {
        persistent: true,
        ...(contentType !== undefined && { contentType }),
        headers: { ...others, ...Object.fromEntries(attributes) },
      });
    }
    // A queue that has no leader yet may drop what comes, and never confirm it.
    const given = new AbortController();
    const late = sleep(confirmMs, given.signal);
    const isLate = await Promise.race([channel.waitForConfirms().then(() => false), late]);
    given.abort();
    if (!isLate) return;
    await this.close();
    throw new Error('RabbitMQ has not confirmed it');
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = this.#channel = undefined;
    try {
      await client?.close();
    } catch {
      // It has died with its broker.
    }
  }
}
