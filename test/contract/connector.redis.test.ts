import { connectorContract } from '../../core/testing/connector-contract.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { redisConnectorBench, redisTraits } from './redis-connector-bench.ts';

await describeWithBroker('redis', 'on a Redis server', (url) => {
  connectorContract({
    name: 'connector redis',
    traits: redisTraits,
    create: ({ own }) => redisConnectorBench(own ? undefined : url),
  });
});
