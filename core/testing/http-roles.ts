import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { Role } from './provider-contract.ts';

/** All bytes of a request; rejects when it breaks off. */
export async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  return Buffer.concat(await request.toArray());
}

function* endless(): Iterable<Uint8Array> {
  for (;;) yield new Uint8Array(65_536);
}

/** What the functions of the contract do, as a service of its own would do it. */
export const httpRoles: Readonly<Record<Role, (request: IncomingMessage, response: ServerResponse) => Promise<void>>> =
  {
    echo: async (request, response) => {
      const [path = '', query] = (request.url ?? '').slice('/echo'.length).split('?');
      const { headers, method = '' } = request;
      const body = await bodyOf(request);
      response.statusCode = Number(headers['x-status'] ?? 200);
      const told = { 'content-type': headers['content-type'], 'x-probe': headers['x-probe'] };
      for (const [name, value] of Object.entries(told)) if (value !== undefined) response.setHeader(name, value);
      response.setHeader('x-method', method);
      response.setHeader('x-path', path);
      response.setHeader('x-query', query === undefined ? '' : `?${query}`);
      response.end(body);
    },
    fail: async (request) => {
      request.socket.destroy();
    },
    crash: async (request) => {
      request.socket.resetAndDestroy();
    },
    slow: async (request, response) => {
      const ms = Number(await bodyOf(request));
      const gone = new AbortController();
      response.on('close', () => gone.abort());
      await wait(ms, undefined, { signal: gone.signal });
      response.end('done');
    },
    stream: async (_request, response) => {
      for (let index = 0; index < 5 && !response.destroyed; index++) {
        if (index > 0) await wait(100);
        response.write(`chunk ${index}\n`);
      }
      response.end();
    },
    flood: async (_request, response) => {
      await pipeline(Readable.from(endless()), response);
    },
    breaks: async (_request, response) => {
      response.write('the first part\n');
      await wait(50);
      response.destroy();
    },
  };

/** A server's handler that answers each role at the path of its name: `/echo/a?b`. For providers that call servers. */
export async function roleHandler(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, role = ''] = /^\/([a-z]+)/.exec(request.url ?? '') ?? [];
  // A caller that goes away ends it; that is no concern of anybody's.
  await httpRoles[role as Role](request, response).catch(() => response.destroy());
}
