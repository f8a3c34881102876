import { defineConnector } from '../../core/contracts/definition.ts';
import { natsTopics, topicMatcher } from '../../core/kit/topic.ts';
import type { NatsConnection } from '../../plugins/connections/nats/connection.ts';
import { natsConnectorConfig } from './config.ts';
import { NatsConnector } from './connector.ts';

export default defineConnector({
  kind: 'nats',
  summary: 'Subjects of core NATS, request–reply included; at most once, as NATS itself delivers them.',
  config: natsConnectorConfig,
  connection: 'nats',
  messages: { acks: ['processed', 'enqueued'], matches: topicMatcher(natsTopics) },
  topics: ({ subjects }) => subjects,
  examples: [
    { delivery: 'at-most-once', subjects: ['greet.*'] },
    {
      connection: 'main',
      delivery: 'at-most-once',
      subjects: ['orders.>', 'returns.created'],
      group: 'shop',
    },
  ],
  create: (config, host) => new NatsConnector(config, host, host.connection<NatsConnection>()),
});
