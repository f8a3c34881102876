import { defineConnector } from '../../core/contracts/definition.ts';
import { natsTopics, topicMatcher } from '../../core/kit/topic.ts';
import type { NatsConnection } from '../../plugins/connections/nats/connection.ts';
import { jetstreamConnectorConfig } from './config.ts';
import { JetstreamConnector } from './connector.ts';

export default defineConnector({
  kind: 'jetstream',
  summary: 'Streams of NATS JetStream by a durable consumer, which gateways share; acknowledged when it is safe.',
  config: jetstreamConnectorConfig,
  connection: 'nats',
  messages: { acks: ['processed', 'enqueued'], matches: topicMatcher(natsTopics) },
  consumer: ({ stream, durable }) => `the durable ${durable} of the stream ${stream}`,
  topics: ({ subjects }) => subjects,
  examples: [
    { stream: 'ORDERS', durable: 'millrace' },
    {
      connection: 'main',
      stream: 'EVENTS',
      subjects: ['events.login.>'],
      durable: 'logins',
      start: { time: '2026-11-01T00:00:00Z' },
    },
  ],
  create: (config, host) => new JetstreamConnector(config, host, host.connection<NatsConnection>()),
});
