import { defineConnector } from '../../core/contracts/definition.ts';
import { topicMatcher } from '../../core/kit/topic.ts';
import type { AmqpConnection } from '../../plugins/connections/amqp/connection.ts';
import { amqpConnectorConfig } from './config.ts';
import { AmqpConnector } from './connector.ts';
import { amqpLint } from './lint.ts';

export default defineConnector({
  kind: 'amqp',
  summary:
    'Quorum, classic and stream queues of RabbitMQ 3.9 or later, acknowledged when it is safe; answers reply-to.',
  config: amqpConnectorConfig,
  connection: 'amqp',
  messages: {
    acks: ['processed', 'enqueued'],
    matches: topicMatcher({ separator: '.', one: '*', rest: '#', atLeast: 0 }),
  },
  // Of a stream each reads the whole, but for those that share a place in it.
  consumer: ({ queue: { name, type }, consumer }) => {
    if (type !== 'stream') return `a consumer of the queue ${name}`;
    return consumer === undefined ? undefined : `the consumer ${consumer} of the stream ${name}`;
  },
  // As a reply is addressed: to a queue, or to EXCHANGE/KEY.
  topics: ({ queue }) => [queue.name, ...queue.bind.map(({ exchange, key }) => `${exchange}/${key}`)],
  lint: amqpLint,
  examples: [
    { queue: { name: 'orders' } },
    {
      connection: 'main',
      queue: {
        name: 'shop.mail',
        deliveryLimit: 20,
        arguments: { 'x-dead-letter-exchange': 'shop.dead' },
        bind: [{ exchange: 'shop', key: 'mail.#', declare: true }],
      },
    },
    {
      queue: { name: 'audit', type: 'stream', arguments: { 'x-max-age': '7D' } },
      start: { timestamp: '2026-11-01T00:00:00Z' },
    },
  ],
  create: (config, host) => new AmqpConnector(config, host, host.connection<AmqpConnection>()),
});
