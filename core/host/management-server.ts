import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { replyNotFound, replyWithError } from '../api/error-reply.ts';
import { createListener } from '../api/listener.ts';
import { Reply } from '../api/reply.ts';
import { callerLimits } from '../config/caller-limits.ts';

/** The management listener: metrics and health, apart from the public port and never on it. */
export function managementServer(
  metrics: Registry,
  refresh: () => Promise<void>,
  metricsPath: string,
  logger: Logger,
): Server {
  const pages = new Map<string, (reply: Reply) => unknown>([
    [
      metricsPath,
      async (reply) => {
        await refresh();
        reply.type(metrics.contentType).send(await metrics.metrics());
      },
    ],
    ['/healthz', (reply) => reply.type('text/plain').send('OK')],
  ]);
  return createListener((request, response) => void answer(request, response), callerLimits.parse({}));

  async function answer({ method, url = '' }: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = ''] = url.split('?', 1);
    const page = method === 'GET' || method === 'HEAD' ? pages.get(path) : undefined;
    try {
      if (page) await page(new Reply(response));
      else replyNotFound(response);
    } catch (error) {
      replyWithError(response, error, logger, path);
    }
  }
}
