import fastify, { type FastifyInstance, type FastifyServerOptions, type RouteOptions } from 'fastify';
import { createServer, type RequestListener, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { Authenticator } from '../auth/authenticator.ts';
import { callerLimits, type CallerLimits } from '../config/schema.ts';
import type { Requested } from '../observe/function-metrics.ts';
import { CallerConnections, type ConnectionEnd } from './caller-connections.ts';
import { errorBody, replyWithError } from './error-reply.ts';
import { apiGuard, type Guard } from './guard.ts';
import { acceptJsonOnly } from './json-body.ts';
import { faultOf } from './message-check.ts';
import { protect } from './route-auth.ts';
import { type RouteApp, type RouteTable, routeTable } from './route-table.ts';

export interface PublicServerOptions {
  readonly authenticator: Authenticator;
  readonly logger: Logger;
  /** Where it is going to listen: decides whether it may ask nobody who he is. */
  readonly listenHost: string;
  /** Told of each answer to `/system` and `/async-function`. */
  readonly requested?: Requested | undefined;
  /** Bytes of a body of the API's own routes; functions have limits of their own. */
  readonly bodyLimit?: number | undefined;
  /** Of its callers; those of the schema unless it is told others. */
  readonly limits?: CallerLimits | undefined;
  /** Told of each connection that was one too many, or too slow. */
  readonly ended?: ((reason: ConnectionEnd) => void) | undefined;
}

/**
 * The public listener: hardened, errors as JSON, and whether a route needs credentials is a property of the route that
 * was matched, never of how its path was spelled.
 *
 * Fastify takes no routes once it listens, and forgets none. So each connector has a Fastify of its own (`open`), which
 * never listens, and what listens looks up whose route a request is for in a table that is replaced at once (`serve`). A
 * call that is under way ends where it began.
 */
export class PublicServer {
  /** The gateway's own routes. It is what listens. */
  readonly api: FastifyInstance;
  readonly #options: PublicServerOptions;
  readonly #limits: CallerLimits;
  readonly #connections: CallerConnections;
  readonly #own: RouteApp;
  readonly #listeners: Server[] = [];
  #guard: Guard;
  #handler: RequestListener = () => undefined;
  #apps: readonly RouteApp[] = [];
  #table: RouteTable;

  constructor(options: PublicServerOptions) {
    this.#options = options;
    this.#limits = options.limits ?? callerLimits.parse({});
    this.#connections = new CallerConnections(this.#limits, options.ended);
    this.#guard = apiGuard(options.authenticator, options.listenHost);
    this.#own = this.#app('the gateway', (handler) => {
      this.#handler = handler;
      return this.#listener(handler);
    });
    this.api = this.#own.server;
    this.#table = routeTable([]);
  }

  /** A place for the routes of one connector. They are answered from `serve` on. */
  open(name: string): RouteApp {
    return this.#app(name);
  }

  /**
   * From now on these are answered, beside the gateway's own, and no others. All of them have been made ready.
   *
   * @throws MillraceError `config.invalid` when two would answer the same; nothing has changed then.
   */
  serve(apps: readonly RouteApp[]): void {
    this.#table = routeTable([this.#own, ...apps]);
    this.#apps = apps;
  }

  /** Who knows from now on whom a request is from. */
  setAuthenticator(authenticator: Authenticator): void {
    this.#guard = apiGuard(authenticator, this.#options.listenHost);
  }

  /** `localhost` has two addresses, where the machine has both. */
  async listen(host: string, port: number): Promise<void> {
    const { server } = this.api;
    await this.api.listen({ host, port });
    const bound = server.address();
    if (host !== 'localhost' || typeof bound !== 'object' || !bound) return;
    const other = this.#listener(this.#handler);
    other.on('clientError', (error, socket) => refuseBytes(socket, statusOfClientError(error)));
    other.on('error', () => undefined); // The machine has no such address, or somebody else has the port there.
    other.listen({ host: bound.family === 'IPv6' ? '127.0.0.1' : '::1', port: bound.port });
    await new Promise<void>((resolve) => {
      other.once('listening', resolve);
      other.once('error', () => resolve());
    });
    server.once('close', () => {
      other.close();
      other.closeAllConnections();
    });
  }

  /** Connections are taken as before, and each is closed after its next answer, which says so. */
  leave(): void {
    // Without a word before, one that is idle would be closed while its client sends the next call, and lose that.
    for (const listener of this.#listeners) listener.maxRequestsPerSocket = 1;
  }

  /** Takes no new connections, and tells the present ones to close after their next answer. */
  async close(): Promise<void> {
    await Promise.all([this.#own, ...this.#apps].map(({ server }) => server.close()));
  }

  #app(name: string, serverFactory?: FastifyServerOptions['serverFactory']): RouteApp {
    const { logger, bodyLimit } = this.#options;
    const routes: RouteOptions[] = [];
    const server: FastifyInstance = fastify({
      ...(serverFactory && { serverFactory }),
      // Errors are logged by `replyWithError`. A logger of Fastify's own would make one for each request, and listen for
      // its end to log that: more than routing costs.
      logger: false,
      bodyLimit: bodyLimit ?? 1_048_576,
      trustProxy: false,
      onProtoPoisoning: 'error',
      onConstructorPoisoning: 'error',
      exposeHeadRoutes: false,
      return503OnClosing: false, // Whoever answers says it better, and keep-alive connections are told to close.
      routerOptions: { maxParamLength: 256 },
      frameworkErrors: (error, _request, reply) => void replyWithError(reply, error, logger),
      clientErrorHandler: (error, socket) => refuseBytes(socket, statusOfClientError(error)),
    });
    acceptJsonOnly(server);
    server.setErrorHandler((error, _request, reply) => replyWithError(reply, error, logger));
    server.setNotFoundHandler((request, reply) =>
      reply.code(404).send(errorBody('route.unknown', `no route for ${request.method} on this path`)),
    );
    server.addHook('onRoute', (route) => {
      protect(route, (...asked) => this.#guard(...asked));
      this.#measure(route);
      routes.push(route);
    });
    return { name, server, routes };
  }

  /** Not calls of functions: those are counted by their function, and a hook would cost each of them. */
  #measure(route: RouteOptions): void {
    const { requested } = this.#options;
    if (!requested || !/^\/(?:system|async-function)(?:\/|$)/.test(route.url)) return;
    const path = route.url.replace(/\/\*$/, '');
    const others = route.onResponse === undefined ? [] : [route.onResponse].flat();
    route.onResponse = [
      (request, reply, done) => {
        requested(request.method, path, reply.raw.statusCode, reply.elapsedTime / 1000);
        done();
      },
      ...others,
    ];
  }

  #listener(handler: RequestListener): Server {
    const { headers, headerBytes, headerTime } = this.#limits;
    const options = { maxHeaderSize: headerBytes, headersTimeout: headerTime, connectionsCheckingInterval: 1000 };
    const server = createServer(options, (request, response) => {
      const fault = faultOf(request, headers);
      if (fault !== undefined) return refuse(response, fault);
      const { method = '', url = '' } = request;
      const app = this.#table.find(method, url);
      if (app) app.server.routing(request, response);
      else handler(request, response);
    });
    server.keepAliveTimeout = 72_000;
    server.requestTimeout = 0; // An upload may take as long as it goes on: see CallerConnections.
    server.maxHeadersCount = 0; // It would drop headers in silence: see faultOf.
    this.#connections.guard(server);
    refuseTunnels(server);
    this.#listeners.push(server);
    return server;
  }
}

/** Nothing here is a proxy for other hosts. `Upgrade` is ignored, as HTTP allows: no listener, no other protocol. */
function refuseTunnels(server: Server): void {
  server.on('connect', (_request, socket) => refuseBytes(socket, 405));
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
