import { z } from 'zod';
import { invocationStates } from '../contracts/invocation.ts';
import { viewOfRecord } from './invocations.ts';
import { qualified } from './names.ts';
import { type ApiRoute, route } from './route.ts';
import { functionName, idParams, invocationView, limitText, refusals } from './schemas.ts';

export const invocationListRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/invocations',
    auth: 'operate',
    tag: 'invocations',
    summary: 'Queued invocations that this gateway has accepted or run lately, newest first.',
    description:
      'It remembers the last 5,000 to 10,000 of them until it is restarted; `GET /invocations/{id}` knows every one that a ' +
      'queue keeps. What is told of each is what its queue says now.',
    query: z.strictObject({
      function: functionName.optional(),
      state: z.enum(invocationStates).optional(),
      limit: limitText(50, 200),
      cursor: idParams.shape.id.optional(),
    }),
    responses: {
      200: {
        description:
          'A page, which may have fewer than `limit`; `cursor` asks for the next one and is absent at the end.',
        schema: z.object({ items: z.array(invocationView), cursor: z.string().optional() }),
      },
      ...refusals('request.invalid', 'queue.unavailable'),
    },
    handle: async ({ query: { function: name, state, limit, cursor } }, { services }) => {
      const lane = name === undefined ? undefined : qualified(name, services);
      const seen = services.recent({ function: lane, state, before: cursor });
      const looked = seen.slice(0, limit);
      const records = await Promise.all(looked.map(({ id }) => services.invocations.find(id)));
      const found = records.filter((one) => one !== undefined).filter((one) => one.state === (state ?? one.state));
      return { items: found.map(viewOfRecord), cursor: looked.length < seen.length ? looked.at(-1)?.id : undefined };
    },
  }),
];
