import { afterAll, beforeAll } from 'vitest';
import { queueContract } from '../../core/testing/queue-contract.ts';
import jetstream from '../../plugins/queues/jetstream/index.ts';
import { NatsServer } from '../support/nats-server.ts';
import { jetstreamBench } from './jetstream-bench.ts';

let server: NatsServer;
beforeAll(async () => {
  server = await NatsServer.start();
});
afterAll(() => server.dispose());

queueContract({
  name: 'queue jetstream',
  capabilities: jetstream.capabilities,
  create: (settings) => jetstreamBench(server.url, settings),
});
