// A gateway's queue in a process of its own: `node amqp-queue-process.ts URL STREAMS`.
import { dial, queueOn } from '../contract/amqp-bench.ts';
import { hold } from './holding-gateway.ts';

const [, , url = '', streams = ''] = process.argv;
const queue = queueOn(await dial(url), streams);
await queue.start();
await hold(queue);
