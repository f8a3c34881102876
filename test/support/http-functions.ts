import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { Role } from '../../core/testing/index.ts';

export type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

export interface RunningServer extends AsyncDisposable {
  readonly url: string;
  readonly server: Server;
}

/** A server on a free port, or on the one given; ending it breaks off what it is at. */
export async function serve(handler: Handler, port = 0): Promise<RunningServer> {
  const server = createServer((request, response) => void handler(request, response));
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

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

/** Answers each role at the path of its name. */
export const roleHandler: Handler = async (request, response) => {
  const [, role = ''] = /^\/([a-z]+)/.exec(request.url ?? '') ?? [];
  // A caller that goes away ends it; that is no concern of anybody's.
  await httpRoles[role as Role](request, response).catch(() => response.destroy());
};
