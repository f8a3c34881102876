import { connectorContract } from '../../core/testing/connector-contract.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { kafkaConnectorBench, topicTraits } from './kafka-connector-bench.ts';

await describeWithBroker('kafka', 'on a Kafka broker', (url) => {
  connectorContract({
    name: 'connector kafka, of several partitions',
    traits: topicTraits,
    // What it does when its broker dies is tried on one partition.
    create: () => kafkaConnectorBench(url, 3),
  });
});
