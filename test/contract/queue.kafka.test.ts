import { queueContract } from '../../core/testing/queue-contract.ts';
import kafka from '../../plugins/queues/kafka/index.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { kafkaBench } from './kafka-bench.ts';

await describeWithBroker('kafka', 'queue kafka', (url) => {
  queueContract({
    name: 'queue kafka',
    capabilities: kafka.capabilities,
    create: (settings) => kafkaBench(url, settings),
  });
});
