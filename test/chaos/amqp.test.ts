import { amqp } from './queues.ts';
import { crashSuite } from './suite.ts';

await crashSuite(amqp);
