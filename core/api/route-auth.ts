import type { IncomingMessage } from 'node:http';
import type { Reach } from '../auth/principal.ts';
import { MillraceError } from '../contracts/errors.ts';
import { type Route, type RouteAuth, scopes } from '../contracts/route.ts';

/** What the guard found. Not a property of the request, which each call of a function would have, too. */
const reaches = new WeakMap<IncomingMessage, Reach>();

/** The namespaces in which the caller may do what the route does; of a route without scopes, none. */
export function reachOfRequest(request: IncomingMessage): Reach {
  return reaches.get(request) ?? nowhere;
}

export function setReach(request: IncomingMessage, reach: Reach): void {
  reaches.set(request, reach);
}

const nowhere: Reach = new Set();

/** Whether the guard stands before the route. */
export function isScoped(auth: RouteAuth): auth is Exclude<RouteAuth, 'public' | 'function'> {
  return auth !== 'public' && auth !== 'function';
}

/** @throws MillraceError for a route that does not say who may use it: what nobody thought of is closed. */
export function requireAuth({ methods, path, auth }: Route): void {
  const underSystem = /^\/system(?:\/|$)/.test(path);
  if (isRouteAuth(auth) && (!underSystem || isScoped(auth))) return;
  const what = `route ${methods.join(', ')} ${path}`;
  throw new MillraceError('internal', `${what} does not declare "auth"${underSystem ? ' as a scope' : ''}`);
}

/** Routes of plugins may say anything at all. */
function isRouteAuth(auth: unknown): auth is RouteAuth {
  if (auth === 'public' || auth === 'function') return true;
  const words: unknown[] = [auth].flat();
  return words.length > 0 && words.every((word) => scopes.some((scope) => scope === word));
}
