import { connectorContract } from '../../core/testing/connector-contract.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { mqttConnectorBench, mqttTraits } from './mqtt-connector-bench.ts';

await describeWithOwnBroker('mqtt', 'on Mosquitto', () => {
  connectorContract({
    name: 'connector mqtt, with QoS 1 and a shared subscription,',
    traits: mqttTraits,
    create: () => mqttConnectorBench({ qos: 1, isShared: true }),
  });
  connectorContract({
    name: 'connector mqtt, with QoS 2 and a session of its own,',
    traits: { ...mqttTraits, shares: false },
    plants: [],
    create: () => mqttConnectorBench({ qos: 2, isShared: false }),
  });
});
