import { z } from 'zod';
import { eventTypes } from '../observe/events.ts';
import { EventStream, streamed } from './event-stream.ts';
import { qualified } from './names.ts';
import { type ApiRoute, route } from './route.ts';
import { functionName, refusals } from './schemas.ts';

const heartbeatMs = 15_000;

const typeList = z
  .string()
  .max(1000)
  .transform((text) => text.split(','))
  .pipe(z.array(z.enum(eventTypes)))
  .optional()
  .meta({ description: 'Types, separated by commas.', examples: ['invocation.dead,plugin.failed'] });

export const eventRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/events',
    auth: 'operate',
    tag: 'events',
    summary: 'What happens, as it happens (Server-Sent Events).',
    description:
      'One event a message: `event` is its type, `data` JSON. A client that reads too slowly loses the oldest and gets ' +
      'a message of type `dropped` with their `count`.',
    query: z.strictObject({ function: functionName.optional(), type: typeList }),
    responses: {
      200: { description: 'Goes on until either side closes.', mediaType: 'text/event-stream' },
      ...refusals('request.invalid'),
    },
    handle: ({ query }, context) => {
      const { services } = context;
      const lane = query.function === undefined ? undefined : qualified(query.function, services);
      const types = query.type && new Set<string>(query.type);
      return streamed(context, 'text/event-stream; charset=utf-8', (response) => {
        response.write(': millrace events\n\n');
        const stream = new EventStream(response);
        const subscription = services.events.subscribe((event) => {
          if (lane !== undefined && event.function !== lane) return;
          if (types && !types.has(event.type)) return;
          stream.send(event);
        });
        const timer = setInterval(() => stream.heartbeat(), heartbeatMs);
        return () => {
          clearInterval(timer);
          subscription.unsubscribe();
        };
      });
    },
  }),
];
