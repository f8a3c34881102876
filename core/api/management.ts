import { z } from 'zod';
import { scopes } from '../contracts/route.ts';
import { configurationRoutes } from './configuration.ts';
import { connectionRoutes } from './connections.ts';
import { connectorRoutes } from './connectors.ts';
import { consoleRoutes } from './console.ts';
import { deadLetterRoutes } from './dead-letters.ts';
import { deploymentRoutes } from './deployments.ts';
import { eventRoutes } from './events.ts';
import { figureRoutes } from './figures.ts';
import { functionRoutes } from './functions.ts';
import { healthRoutes } from './health.ts';
import { invocationListRoutes } from './invocation-list.ts';
import { invocationRoutes } from './invocations.ts';
import { logRoutes } from './logs.ts';
import { namespaceRoutes } from './namespaces.ts';
import { openApiOf } from './openapi.ts';
import { queueRoutes } from './queues.ts';
import { addRoutes, type ApiRoute, route } from './route.ts';
import { secretRoutes } from './secrets.ts';
import type { PublicServer } from './server.ts';
import type { ManagementServices } from './services.ts';

let document: ReturnType<typeof openApiOf> | undefined;

const openApiRoute = route({
  method: 'GET',
  path: '/system/openapi.json',
  auth: scopes,
  tag: 'about',
  summary: 'This document.',
  responses: { 200: { description: 'OpenAPI 3.1.', schema: z.looseObject({ openapi: z.string() }) } },
  // Made when first asked for: nobody who only runs functions pays for it.
  handle: () => (document ??= openApiOf(apiRoutes)),
});

/** Every route of the API: the table that registers, validates and documents them. */
export const apiRoutes: readonly ApiRoute[] = [
  ...healthRoutes,
  ...invocationRoutes,
  ...queueRoutes,
  ...deadLetterRoutes,
  ...functionRoutes,
  ...deploymentRoutes,
  ...secretRoutes,
  ...namespaceRoutes,
  ...logRoutes,
  ...connectionRoutes,
  ...connectorRoutes,
  ...eventRoutes,
  ...figureRoutes,
  ...invocationListRoutes,
  ...configurationRoutes,
  openApiRoute,
  ...consoleRoutes,
];

/** Adds the API to the public listener: `/invocations`, `/system`, `/healthz`, `/readyz`, and the console if it is wanted. */
export function registerManagement(
  server: PublicServer,
  services: ManagementServices,
  { console: hasConsole }: { readonly console: boolean } = { console: true },
): void {
  const routes = hasConsole ? apiRoutes : apiRoutes.filter((entry) => !consoleRoutes.includes(entry));
  addRoutes(server, routes, services);
}
