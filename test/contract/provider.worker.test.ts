import { providerContract } from '../../core/testing/index.ts';
import { workerBench } from './worker-bench.ts';

providerContract('worker', () => workerBench({ grace: '300ms' }));
providerContract('worker, several calls in a thread, web-standard echo', () =>
  workerBench({ grace: '300ms', perThread: 8, pool: { max: 2 } }, {}, { echo: 'echo-fetch.ts' }),
);
