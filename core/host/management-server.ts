import fastify, { type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';

/** The management listener: metrics and health, apart from the public port and never on it. */
export function managementServer(
  metrics: Registry,
  refresh: () => Promise<void>,
  metricsPath: string,
): FastifyInstance {
  const server = fastify({ logger: false, forceCloseConnections: true });
  server.get(metricsPath, async (_request, reply) => {
    await refresh();
    return reply.type(metrics.contentType).send(await metrics.metrics());
  });
  server.get('/healthz', async (_request, reply) => reply.type('text/plain').send('OK'));
  return server;
}
