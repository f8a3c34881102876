import { z } from 'zod';
import { MillraceError } from '../contracts/errors.ts';
import { type ApiRoute, route } from './route.ts';
import { refusals } from './schemas.ts';

const findingView = z.object({
  file: z.string(),
  line: z.int(),
  column: z.int(),
  path: z.string().meta({ description: 'Keys from the root, joined by dots.' }),
  message: z.string(),
  severity: z.enum(['error', 'warning']),
  code: z.string().optional().meta({ description: 'The rule, which docs/lint.md explains.' }),
});

export const configurationRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/configuration',
    auth: 'operate',
    tag: 'about',
    summary: 'The configuration in force, defaults included and without its secrets, and what the lint says of it.',
    description: 'It is of all namespaces, so it takes `operate` in all of them.',
    responses: {
      200: {
        description: 'As `millrace config show` has it, with functions that were deployed through the API.',
        schema: z.object({ configuration: z.looseObject({}), findings: z.array(findingView) }),
      },
      ...refusals('request.forbidden'),
    },
    handle: (_input, { services }) => {
      const found = services.configuration();
      if (!found)
        throw new MillraceError('request.forbidden', 'the configuration is for who may operate all namespaces');
      const findings = found.findings.map(({ file, line, column, path, message, severity, code }) => {
        return { file, line, column, path, message, severity, ...(code !== undefined && { code }) };
      });
      return { configuration: found.configuration, findings };
    },
  }),
];
