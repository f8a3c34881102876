import { kafka } from './queues.ts';
import { crashSuite } from './suite.ts';

await crashSuite(kafka);
