import { queueContract } from '../../core/testing/queue-contract.ts';
import jetstream from '../../plugins/queues/jetstream/index.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { jetstreamBench } from './jetstream-bench.ts';

await describeWithBroker('nats', 'on a NATS server', (url) => {
  const create = (settings: Parameters<typeof jetstreamBench>[1]): ReturnType<typeof jetstreamBench> =>
    jetstreamBench(url, settings);
  queueContract({ name: 'queue jetstream', capabilities: jetstream.capabilities, create });
});
