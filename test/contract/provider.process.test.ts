import { providerContract } from '../../core/testing/index.ts';
import { processBench } from './process-bench.ts';

providerContract('process, a command for each call', () => processBench());
providerContract('process, a command for each call whose answer streams', () =>
  processBench({}, { mode: 'streaming' }),
);
providerContract('process, servers', () => processBench({}, { mode: 'http' }));
