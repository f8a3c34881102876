import { z } from 'zod';
import { defineConnector } from '../../core/contracts/definition.ts';
import { HttpConnector } from './connector.ts';

export default defineConnector({
  kind: 'http',
  summary: 'Calls of functions over HTTP, as OpenFaaS clients make them: /function/NAME and /async-function/NAME.',
  config: z.strictObject({
    maxBody: z
      .number()
      .int()
      .positive()
      .optional()
      .describe('Bytes of a request body; gateway.limits.body by default.'),
  }),
  examples: [{}],
  create: (config, host) => new HttpConnector(config, host),
});
