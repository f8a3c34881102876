import { queueContract } from '../../core/testing/queue-contract.ts';
import amqp from '../../plugins/queues/amqp/index.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { amqpBench } from './amqp-bench.ts';

await describeWithBroker('amqp', 'on RabbitMQ', (url) => {
  const create = (settings: Parameters<typeof amqpBench>[1]): ReturnType<typeof amqpBench> => amqpBench(url, settings);
  queueContract({ name: 'queue amqp', capabilities: amqp.capabilities, create });
});
