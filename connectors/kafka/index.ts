import { defineConnector } from '../../core/contracts/definition.ts';
import type { KafkaConnection } from '../../plugins/connections/kafka/connection.ts';
import { kafkaConnectorConfig } from './config.ts';
import { KafkaConnector } from './connector.ts';
import { matchesTopic } from './topics.ts';

export default defineConnector({
  kind: 'kafka',
  summary: 'Topics of Apache Kafka in a consumer group that gateways share; committed in order, when it is safe.',
  config: kafkaConnectorConfig,
  connection: 'kafka',
  messages: { acks: ['processed', 'enqueued'], matches: matchesTopic },
  consumer: ({ subscribe }) => `a member of the group ${subscribe.group}`,
  topics: ({ subscribe }) => [subscribe.topics].flat(),
  examples: [
    { subscribe: { topics: ['orders.v1'], group: 'millrace' } },
    {
      connection: 'main',
      subscribe: { topics: '/^events\\./', group: 'audit', start: 'latest' },
      concurrency: { perPartition: 100, keyed: false },
      outOfRange: 'earliest',
    },
  ],
  create: (config, host) => new KafkaConnector(config, host, host.connection<KafkaConnection>()),
});
