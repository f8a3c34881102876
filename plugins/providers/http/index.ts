import { defineProvider } from '../../../core/contracts/definition.ts';
import { httpProviderConfig, httpFunction } from './config.ts';
import { HttpProvider } from './provider.ts';

export default defineProvider({
  kind: 'http',
  summary: 'Functions that run elsewhere already, behind a URL: OpenFaaS functions, or any service that speaks HTTP.',
  config: httpProviderConfig,
  functionConfig: httpFunction,
  examples: [{}, { connections: 32, connectTimeout: '1s', keepAlive: '10s' }],
  // Which of several upstreams has the fewest calls, and which is well, is known where all calls of the function go.
  inFront: ({ url, health, ready }) => url !== undefined && !health && !ready,
  create: (config, host) => new HttpProvider(config, host),
});
