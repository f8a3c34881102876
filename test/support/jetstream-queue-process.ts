// A gateway's queue in a process of its own: `node jetstream-queue-process.ts URL STREAMS`.
import { dial, jetstreamQueue } from '../contract/jetstream-bench.ts';
import { hold } from './holding-gateway.ts';

const [, , url = '', streams = ''] = process.argv;
const queue = jetstreamQueue(await dial(url), streams);
await queue.start();
await hold(queue);
