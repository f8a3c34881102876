import { afterAll, beforeAll } from 'vitest';
import { queueContract } from '../../core/testing/queue-contract.ts';
import amqp from '../../plugins/queues/amqp/index.ts';
import { RabbitmqServer } from '../support/rabbitmq-server.ts';
import { amqpBench } from './amqp-bench.ts';

let server: RabbitmqServer;
beforeAll(async () => {
  server = await RabbitmqServer.start();
}, 60_000);
afterAll(() => server.dispose());

queueContract({
  name: 'queue amqp',
  capabilities: amqp.capabilities,
  create: (settings) => amqpBench(server.url, settings),
});
