// A gateway's queue in a process of its own: `node kafka-queue-process.ts BROKER TOPICS`.
import { dial, queueOn } from '../contract/kafka-bench.ts';
import { hold } from './holding-gateway.ts';

const [, , url = '', topics = ''] = process.argv;
const queue = queueOn(await dial(url), topics);
await queue.start();
await hold(queue);
