import { connectorContract } from '../../core/testing/connector-contract.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { mqttConnectorBench, mqttTraits } from './mqtt-connector-bench.ts';

await describeWithBroker('mqtt', 'on an MQTT broker', (url) => {
  for (const qos of [1, 2] as const) {
    connectorContract({
      name: `connector mqtt with QoS ${qos}`,
      traits: mqttTraits,
      create: ({ own }) => mqttConnectorBench(own ? undefined : url, qos),
    });
  }
});
