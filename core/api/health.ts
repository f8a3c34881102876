import { z } from 'zod';
import { type ApiRoute, route } from './route.ts';

const tag = 'health';
const readyView = z.object({
  ready: z.boolean(),
  failed: z.array(z.object({ name: z.string(), kind: z.string() })),
});

export const healthRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/healthz',
    auth: 'public',
    tag,
    summary: 'Whether the process answers.',
    responses: { 200: { description: '`OK`', mediaType: 'text/plain' } },
    handle: (_input, { reply }) => reply.type('text/plain; charset=utf-8').send('OK'),
  }),
  route({
    method: 'GET',
    path: '/readyz',
    auth: 'public',
    tag,
    summary: 'Whether it should be given work, and which plugins have failed.',
    responses: {
      200: { description: 'Ready.', schema: readyView },
      503: { description: 'Starting, stopping, or a plugin failed.', schema: readyView },
    },
    handle: (_input, { services, reply }) => {
      const { ready, failed } = services.isReady();
      // Anybody may read this: the reasons, which may tell of hosts and accounts, are in /system/connectors and the log.
      const names = failed.map(({ name, kind }) => ({ name, kind }));
      return reply.code(ready ? 200 : 503).send({ ready, failed: names });
    },
  }),
];
