import { jetstream } from './queues.ts';
import { crashSuite } from './suite.ts';

await crashSuite(jetstream);
