import { redis } from './queues.ts';
import { crashSuite } from './suite.ts';

await crashSuite(redis);
