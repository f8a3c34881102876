import { connectorContract } from '../../core/testing/connector-contract.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { amqpConnectorBench, amqpTraits } from './amqp-connector-bench.ts';

await describeWithBroker('amqp', 'on RabbitMQ', (url) => {
  connectorContract({
    name: 'connector amqp, on a quorum queue,',
    traits: amqpTraits,
    create: ({ own }) => amqpConnectorBench(own ? undefined : url),
  });
});
