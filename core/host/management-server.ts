import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { errorBody, replyWithError } from '../api/error-reply.ts';
import { CallerConnections } from '../api/caller-connections.ts';
import { createListener } from '../api/listener.ts';
import { Reply } from '../api/reply.ts';
import { callerLimits } from '../config/schema.ts';

/** The management listener: metrics and health, apart from the public port and never on it. */
export function managementServer(
  metrics: Registry,
  refresh: () => Promise<void>,
  metricsPath: string,
  logger: Logger,
): Server {
  const pages: Readonly<Record<string, (reply: Reply) => unknown>> = {
    [metricsPath]: async (reply) => {
      await refresh();
      reply.type(metrics.contentType).send(await metrics.metrics());
    },
    '/healthz': (reply) => reply.type('text/plain').send('OK'),
  };
  const limits = callerLimits.parse({});
  const server = createListener((request, response) => void answer(request, response), limits);
  new CallerConnections(limits).guard(server);
  return server;

  async function answer({ method, url = '' }: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = ''] = url.split('?', 1);
    const page =
      method === 'GET' || method === 'HEAD' ? Object.entries(pages).find(([one]) => one === path) : undefined;
    try {
      if (page) await page[1](new Reply(response));
      else new Reply(response).code(404).send(errorBody('route.unknown', `no route for ${method} on this path`));
    } catch (error) {
      replyWithError(response, error, logger, path);
    }
  }
}
