import router from 'find-my-way';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import type { PathParameters, Route, Routes, Scope } from '../contracts/route.ts';
import { TargetTooLong } from './error-reply.ts';
import { isScoped, requireAuth } from './route-auth.ts';

type Router = ReturnType<typeof router>;

const maxParameterLength = 256;

/** The routes of one owner: the gateway, or a connector. */
export class OwnRoutes implements Routes {
  /** Whose they are, for messages. */
  readonly owner: string;
  readonly #routes: Route[] = [];
  /** Refuses what is no path, and what is there twice. */
  readonly #known = router();
  #complete = false;

  constructor(owner: string) {
    this.owner = owner;
  }

  add(route: Route): void {
    if (this.#complete) throw new MillraceError('internal', `${this.owner} adds a route after its start`);
    requireAuth(route);
    try {
      put(this.#known, route, false);
    } catch (error) {
      throw new MillraceError('internal', `${this.owner}: route ${route.path}: ${messageOf(error)}`, { cause: error });
    }
    this.#routes.push(route);
  }

  /** All of them: from now on there is no adding. */
  all(): readonly Route[] {
    this.#complete = true;
    return this.#routes;
  }
}

/** What is known of a route before any request comes. */
export interface ServedRoute {
  readonly route: Route;
  /** Of which the guard wants one; none where it does not stand before the route. */
  readonly scopes: readonly Scope[];
  /** What its answers are counted as; calls of functions are counted by their function. */
  readonly countedAs: string | undefined;
  /** A connector's, and not one of the gateway's own. */
  readonly isCall: boolean;
}

/** As the router has it: an object more for each call would be noticed. */
export interface FoundRoute {
  readonly store: ServedRoute;
  readonly params: PathParameters;
}

/** Which route a request is for. */
export interface RouteTable {
  /**
   * Undefined when there is none of that method and path.
   *
   * @throws MillraceError `request.invalid` when the path is not encoded as it must be, or a parameter is too long.
   */
  find(method: string, url: string): FoundRoute | undefined;
}

/**
 * `owners`: the gateway, then the connectors.
 *
 * @throws MillraceError `config.invalid` when two of them would answer the same requests.
 */
export function routeTable(owners: readonly OwnRoutes[]): RouteTable {
  const table = router({
    maxParamLength: maxParameterLength,
    querystringParser: () => nothing,
    onBadUrl: (path) => {
      throw new MillraceError('request.invalid', `'${path.slice(0, 100)}' is not a valid url component`);
    },
    onMaxParamLength: (path) => {
      throw new TargetTooLong('request.invalid', `'${path.slice(0, 100)}' is exceeding the max param length`);
    },
  });
  for (const [index, each] of owners.entries()) {
    for (const route of each.all()) {
      try {
        put(table, route, index > 0);
      } catch (error) {
        const what = `${route.methods.join(', ')} ${route.path}`;
        const text = `${each.owner} cannot answer ${what}: another connector, or the gateway itself, does`;
        throw new MillraceError('config.invalid', text, { cause: error });
      }
    }
  }
  return {
    find: (method, url) => {
      const found = table.find(method as Method, url);
      if (!found) return undefined;
      if (found.store === null) return refused(found.handler);
      return found as unknown as FoundRoute;
    },
  };
}

type Method = Parameters<Router['find']>[0];

function put(table: Router, route: Route, isCall: boolean): void {
  const { path, auth } = route;
  const isCounted = /^\/(?:system|async-function)(?:\/|$)/.test(path);
  const countedAs = isCounted ? path.replace(/\/\*$/, '') : undefined;
  const store: ServedRoute = { route, scopes: isScoped(auth) ? [auth].flat() : [], countedAs, isCall };
  for (const method of route.methods) table.on(method, route.path, never, store);
}

/** The router hands back what it was given for targets that it cannot read, and that throws. */
function refused(handler: unknown): never {
  throw (handler as () => unknown)();
}

const nothing = {};
const never = (): void => undefined;
