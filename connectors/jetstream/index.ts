import { defineConnector } from '../../core/contracts/definition.ts';
import type { NatsConnection } from '../../plugins/connections/nats/connection.ts';
import { jetstreamConnectorConfig } from './config.ts';
import { JetstreamConnector } from './connector.ts';

export default defineConnector({
  kind: 'jetstream',
  summary: 'Streams of NATS JetStream by a durable consumer, which gateways share; acknowledged when it is safe.',
  config: jetstreamConnectorConfig,
  connection: 'nats',
  examples: [
    { stream: 'ORDERS', durable: 'millrace', function: 'orders' },
    {
      connection: 'main',
      stream: 'EVENTS',
      subjects: ['events.login.>'],
      durable: 'logins',
      start: { time: '2026-11-01T00:00:00Z' },
      ack: 'enqueued',
      function: 'audit',
    },
  ],
  create: (config, host) => new JetstreamConnector(config, host, host.connection<NatsConnection>()),
});
