import { z } from 'zod';
import { type ApiRoute, route } from './route.ts';

const tag = 'health';
const readyView = z.object({
  ready: z.boolean(),
  failed: z.array(z.object({ name: z.string(), kind: z.string() })),
  draining: z.array(z.object({ name: z.string(), kind: z.string() })),
  connections: z.array(z.object({ name: z.string(), kind: z.string(), state: z.string() })),
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
    summary:
      'Whether it should be given work, which plugins have failed, which queues take nothing new for want of space, and ' +
      'whether each broker can be reached.',
    responses: {
      200: { description: 'Ready.', schema: readyView },
      503: { description: 'Starting, stopping, a plugin failed, or a queue takes nothing new.', schema: readyView },
    },
    handle: (_input, { services, reply }) => {
      // A broker that is away does not make it unready. Its replicas share that broker: all of them would be taken out of
      // service at once, with the synchronous calls that they can still run; what they cannot take is answered 503.
      const { ready, failed, draining } = services.isReady();
      // Anybody may read this: the reasons, which may tell of hosts and accounts, are under /system and in the log.
      return reply.code(ready ? 200 : 503).send({
        ready,
        failed: failed.map(({ name, kind }) => ({ name, kind })),
        draining: draining.map(({ name, kind }) => ({ name, kind })),
        connections: services.connections().map(({ name, kind, state }) => ({ name, kind, state })),
      });
    },
  }),
];
