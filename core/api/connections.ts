import { z } from 'zod';
import { type ApiRoute, route } from './route.ts';
import { connectionView } from './schemas.ts';

export const connectionRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/connections',
    auth: 'operate',
    tag: 'connections',
    summary: 'The brokers, and whether they can be reached.',
    responses: { 200: { description: 'One row a connection.', schema: z.array(connectionView) } },
    handle: (_input, { services }) => services.connections(),
  }),
];
