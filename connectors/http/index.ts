import { defineConnector } from '../../core/contracts/definition.ts';
import { httpConfig } from './config.ts';
import { HttpConnector } from './connector.ts';

export default defineConnector({
  kind: 'http',
  summary:
    'Calls of functions over HTTP, as OpenFaaS clients make them: /function/NAME and /async-function/NAME; and paths of their own, with webhooks whose signature is verified.',
  config: httpConfig,
  examples: [
    {},
    {
      routes: [
        { path: '/orders/:id', methods: ['GET', 'PUT'], function: 'orders' },
        {
          path: '/hooks/github',
          function: 'on-push',
          verify: { scheme: 'github', secret: '${file:/run/secrets/github}' },
        },
      ],
    },
  ],
  inFront: (config) => (config.functions ? { ...config, routes: [] } : undefined),
  create: (config, host) => new HttpConnector(config, host),
});
