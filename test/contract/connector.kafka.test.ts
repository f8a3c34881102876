import { connectorContract } from '../../core/testing/connector-contract.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { kafkaConnectorBench, partitionTraits } from './kafka-connector-bench.ts';

await describeWithBroker('kafka', 'on a Kafka broker', (url) => {
  connectorContract({
    name: 'connector kafka, of one partition',
    traits: partitionTraits,
    // It is with several partitions that they are planted.
    plants: [],
    create: ({ own }) => kafkaConnectorBench(own ? undefined : url, 1),
  });
});
