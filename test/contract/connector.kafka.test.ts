import { connectorContract } from '../../core/testing/connector-contract.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { kafkaConnectorBench, partitionTraits } from './kafka-connector-bench.ts';

await describeWithBroker('kafka', 'on a Kafka broker', (url) => {
  connectorContract({
    name: 'connector kafka, of one partition',
    traits: partitionTraits,
    create: ({ own }) => kafkaConnectorBench(own ? undefined : url, 1),
  });
});
