import { connectorContract } from '../../core/testing/connector-contract.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { natsConnectorBench, natsTraits } from './nats-connector-bench.ts';

await describeWithBroker('nats', 'on a NATS server', (url) => {
  connectorContract({
    name: 'connector nats',
    traits: natsTraits,
    create: ({ own }) => natsConnectorBench(own ? undefined : url),
  });
});
