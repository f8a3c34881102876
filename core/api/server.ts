import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import type { Authenticator } from '../auth/authenticator.ts';
import { callerLimits, type CallerLimits } from '../config/caller-limits.ts';
import { errorCodes } from '../contracts/errors.ts';
import type { Route } from '../contracts/route.ts';
import { takePassedTarget } from '../kit/caller.ts';
import type { Requested } from '../observe/function-metrics.ts';
import { CallerConnections, type ConnectionEnd } from './caller-connections.ts';
import { errorBody, replyNotFound, replyWithError } from './error-reply.ts';
import { apiGuard, type Guard } from './guard.ts';
import { closed, createListener, listen, listenWithin } from './listener.ts';
import { Reply } from './reply.ts';
import { setReach } from './route-auth.ts';
import { type FoundRoute, OwnRoutes, type RouteTable, routeTable } from './route-table.ts';
import { Turn } from './turn.ts';

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
  /** Takes the requests that are for another process of the gateway: true for those. */
  readonly elsewhere?: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
}

/** Where a listener is to listen. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * The public listener: hardened, errors as JSON, and whether a route needs credentials is a property of the route that
 * was matched, never of how its path was spelled. Its routes are those of the gateway and of each connector, in one table
 * that is replaced at once (`serve`). A call that is under way ends where it began.
 */
export class PublicServer {
  /** The gateway's own routes. */
  readonly api = new OwnRoutes('the gateway');
  readonly bodyLimit: number;
  readonly #options: PublicServerOptions;
  readonly #limits: CallerLimits;
  readonly #connections: CallerConnections;
  readonly #turn: Turn;
  readonly #closing = new AbortController();
  #guard: Guard;
  #table: RouteTable = routeTable([]);
  #servers: readonly Server[] = [];
  /** Where other processes of the gateway pass on what came to them. */
  #inner: Server | undefined;

  constructor(options: PublicServerOptions) {
    this.#options = options;
    this.bodyLimit = options.bodyLimit ?? 1_048_576;
    this.#limits = options.limits ?? callerLimits.parse({});
    this.#connections = new CallerConnections(this.#limits, options.ended);
    this.#turn = new Turn(this.#limits.turn);
    this.#guard = apiGuard(options.authenticator, options.listenHost);
  }

  /** Aborts when it closes. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Undefined while it does not listen. */
  get address(): AddressInfo | undefined {
    return this.#addresses[0];
  }

  /** Of each of its listeners. */
  get listensAt(): readonly ListenAddress[] {
    return this.#addresses.map(({ address, port }) => ({ host: address, port }));
  }

  get #addresses(): readonly AddressInfo[] {
    return this.#servers
      .map((server) => server.address())
      .filter((bound) => typeof bound === 'object' && bound !== null);
  }

  /**
   * From now on these are answered, beside the gateway's own, and no others.
   *
   * @throws MillraceError `config.invalid` when two would answer the same; nothing has changed then.
   */
  serve(connectors: readonly OwnRoutes[]): void {
    this.#table = routeTable([this.api, ...connectors]);
  }

  /** Who knows from now on whom a request is from. */
  setAuthenticator(authenticator: Authenticator): void {
    this.#guard = apiGuard(authenticator, this.#options.listenHost);
  }

  /** `localhost` has two addresses, where the machine has both. `isShared`: other processes listen there as well. */
  async listen(host: string, port: number, isShared = false): Promise<void> {
    const server = await this.#listening(host, port, isShared);
    this.#servers = [server];
    const bound = this.address;
    if (host !== 'localhost' || !bound) return;
    try {
      const other = await this.#listening(bound.family === 'IPv6' ? '127.0.0.1' : '::1', bound.port, isShared);
      this.#servers = [server, other];
    } catch {
      // The machine has no such address, or somebody else has the port there.
    }
  }

  /** Listens beside another process of the gateway, which has made sure that the port is its own. */
  async join(addresses: readonly ListenAddress[]): Promise<void> {
    this.#servers = await Promise.all(addresses.map(({ host, port }) => listen(this.#listener(), host, port, true)));
  }

  /** Takes on the socket at `path` what other processes pass on, with the words of where it came from. */
  async listenWithin(path: string): Promise<void> {
    // They have looked at the bounds of callers already; what they add to a head is where it came from.
    const limits = { ...this.#limits, ...unbounded, headerBytes: this.#limits.headerBytes + 1024 };
    const server = createListener((request, response) => {
      if (!takePassedTarget(request)) return void response.destroy(); // No process of ours.
      // `Connection: close` is meant for the caller. Closed here, with a body still coming, it would take the answer along.
      response.prependListener('finish', () => ((response as { _last?: boolean })._last = false));
      this.#answer(request, response);
    }, limits);
    this.#inner = await listenWithin(server, path);
  }

  /** Connections are taken as before, and each is closed after its next answer, which says so. */
  leave(): void {
    // Without a word before, one that is idle would be closed while its client sends the next call, and lose that.
    for (const server of this.#servers) server.maxRequestsPerSocket = 1;
  }

  /** Takes no new connections, and resolves when the present ones have ended, after their next answer at the latest. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#servers.map(closed));
  }

  closeAllConnections(): void {
    for (const server of this.#servers) server.closeAllConnections();
  }

  /** Nobody passes anything on any more. */
  closeWithin(): void {
    this.#inner?.close();
    this.#inner?.closeAllConnections();
  }

  /** A port that is shared would be shared with a stranger, too: so it is first made sure that there is none. */
  async #listening(host: string, port: number, isShared: boolean): Promise<Server> {
    if (!isShared) return listen(this.#listener(), host, port);
    const alone = await listen(this.#listener(), host, port);
    const { port: own } = alone.address() as AddressInfo;
    await closed(alone);
    return listen(this.#listener(), host, own, true);
  }

  #listener(): Server {
    return createListener((request, response) => this.#answer(request, response), this.#limits, this.#connections);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (this.#closing.signal.aborted) response.setHeader('connection', 'close');
    let found: FoundRoute | undefined;
    try {
      if (this.#options.elsewhere?.(request, response)) return;
      found = this.#table.find(request.method ?? '', request.url ?? '');
      if (!found) return replyNotFound(response);
      const { route, scopes, countedAs, isCall } = found.store;
      // Who asks how the gateway is, or operates it, is to be answered now.
      if (isCall && this.#turn.isLong()) return refuseLate(response);
      if (countedAs !== undefined) this.#count(countedAs, response);
      const answering =
        scopes.length > 0 ? this.#guarded(found, request, response) : route.handle(request, response, found.params);
      answering?.catch((error: unknown) => this.#failed(response, error, route));
    } catch (error) {
      this.#failed(response, error, found?.store.route);
    }
  }

  async #guarded({ store, params }: FoundRoute, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { route, scopes } = store;
    const reach = await this.#guard(scopes, request, new Reply(response), route.path);
    if (reach === undefined) return; // Answered.
    setReach(request, reach);
    await route.handle(request, response, params);
  }

  #count(path: string, response: ServerResponse): void {
    const { requested } = this.#options;
    if (!requested) return;
    const startedAt = performance.now();
    response.once('finish', () =>
      requested(response.req.method ?? '', path, response.statusCode, (performance.now() - startedAt) / 1000),
    );
  }

  #failed(response: ServerResponse, error: unknown, route: Route | undefined): void {
    replyWithError(response, error, this.#options.logger, route?.path);
  }
}

/** Of processes of our own. */
const unbounded = {
  connections: Infinity,
  connectionsPerAddress: Infinity,
  headers: 4000,
  idle: 2 ** 31,
  bodyTime: 2 ** 31,
};

/** As cheaply as can be: its body is not looked at. */
function refuseLate(response: ServerResponse): void {
  const headers = { 'content-type': 'application/json', 'retry-after': '1', 'x-openfaas-internal': 'millrace' };
  response.writeHead(errorCodes['gateway.overloaded'].status, headers).end(lateBody);
}

const lateBody = JSON.stringify(errorBody('gateway.overloaded', 'more calls come than the gateway can begin'));
