import { chmodSync } from 'node:fs';
import type { RequestListener, Server, ServerResponse } from 'node:http';
import type { AddressInfo, ListenOptions } from 'node:net';
import { createServer, STATUS_CODES } from '../kit/http.ts';
import type { Duplex } from 'node:stream';
import type { CallerLimits } from '../config/caller-limits.ts';
import { CallerConnections } from './caller-connections.ts';
import { errorBody } from './error-reply.ts';
import { faultOf } from './message-check.ts';

/**
 * A server of HTTP/1.1 as all of ours are: strict about framing, with limits of time and size, and for nothing but
 * requests. What Node refuses by itself is answered as JSON. `connections`: where several servers share their bounds.
 */
export function createListener(
  handle: RequestListener,
  limits: CallerLimits,
  connections = new CallerConnections(limits),
): Server {
  const { headers, headerBytes, headerTime } = limits;
  const server = createServer(
    {
      maxHeaderSize: headerBytes,
      headersTimeout: headerTime,
      connectionsCheckingInterval: 1000,
      keepAliveTimeout: 72_000,
      requestTimeout: 0, // An upload may take as long as it goes on: see CallerConnections.
      insecureHTTPParser: false,
      requireHostHeader: true,
    },
    (request, response) => {
      const fault = faultOf(request, headers);
      if (fault === undefined) handle(request, response);
      else refuse(response, fault);
    },
  );
  server.maxHeadersCount = 0; // It would drop headers in silence (CVE-2026-58044): see faultOf.
  connections.guard(server);
  server.on('clientError', (error, socket) => refuseBytes(socket, statusOfClientError(error)));
  // Nothing here is a proxy for other hosts. `Upgrade` is ignored, as HTTP allows: no listener, no other protocol.
  server.on('connect', (_request, socket) => refuseBytes(socket, 405));
  return server;
}

/** Rejects when the address cannot be had. `reusePort`: together with others that say so. */
export function listen(server: Server, host: string, port: number, reusePort = false): Promise<Server> {
  return listening(server, { host, port, reusePort });
}

/** On a socket of the file system, for the user of this process only. */
export async function listenWithin(server: Server, path: string): Promise<Server> {
  await listening(server, { path });
  chmodSync(path, 0o600);
  return server;
}

function listening(server: Server, options: ListenOptions): Promise<Server> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

/** Takes no new connections, ends those that are idle or become so, and resolves when the last one has ended. */
export async function closed(server: Server): Promise<void> {
  // Node ends those that are idle now; one that is busy would stay open for as long as its client likes.
  const ending = setInterval(() => server.closeIdleConnections(), 20);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  clearInterval(ending);
}

function statusOfClientError(error: NodeJS.ErrnoException): number | undefined {
  if (error.code === 'ECONNRESET') return undefined;
  if (error.code === 'HPE_HEADER_OVERFLOW') return 431;
  return error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
}

/** Connections that are refused after the answer that is under way. */
const waiting = new WeakSet<Duplex>();

/**
 * Answers what never became a request, and closes: what follows on that connection cannot be trusted. Those before it
 * get their answers first; an answer that has begun, to a request whose body is what is wrong, can only be broken off.
 */
function refuseBytes(socket: Duplex, status: number | undefined): void {
  if (socket.writableEnded) return;
  // The answer that goes out next; Node has no public name for it.
  const answer = (socket as { _httpMessage?: ServerResponse | null })._httpMessage;
  if (status === undefined || !socket.writable || (answer?.headersSent && !answer.req.complete)) {
    socket.destroy();
  } else if (answer?.req.complete) {
    if (waiting.has(socket)) return; // What still comes is no request either.
    waiting.add(socket);
    answer.once('finish', () => {
      waiting.delete(socket);
      refuseBytes(socket, status);
    });
  } else {
    const body = refusalBody(status);
    socket.end(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  }
}

/** Answers a request that may be read in two ways, and closes. */
function refuse(response: ServerResponse, fault: number | 'distrusted'): void {
  if (fault === 'distrusted') return; // The connection ends with the answer before it.
  response.writeHead(fault, { connection: 'close', 'content-type': 'application/json' }).end(refusalBody(fault));
}

function refusalBody(status: number): string {
  return JSON.stringify(errorBody('request.invalid', STATUS_CODES[status] ?? ''));
}

/** Empty where nothing listens, or on no port. */
export function urlOf(address: AddressInfo | string | null | undefined): string {
  if (!address || typeof address === 'string') return '';
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
}
