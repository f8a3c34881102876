import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export { bodyOf, httpRoles, roleHandler } from '../../core/testing/http-roles.ts';

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
