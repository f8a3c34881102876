import { connectorContract } from '../../core/testing/connector-contract.ts';
import { connectorPlants, type ConnectorPlant } from '../../core/testing/connector-plants.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { jetstreamConnectorBench, jetstreamTraits } from './jetstream-connector-bench.ts';

await describeWithBroker('nats', 'on a NATS server', (url) => {
  connectorContract({
    name: 'connector jetstream',
    traits: jetstreamTraits,
    // All there are: here it is seen that the contract finds them.
    plants: Object.keys(connectorPlants) as ConnectorPlant[],
    create: ({ own }) => jetstreamConnectorBench(own ? undefined : url),
  });
});
