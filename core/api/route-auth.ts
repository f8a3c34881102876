import type { FastifyRequest, RouteOptions } from 'fastify';
import { type Reach, type Scope, scopes } from '../auth/principal.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Guard } from './guard.ts';

/**
 * Who may use a route. A scope, or one of several: whoever has it in some namespace, and sees that one only. `function`:
 * the function that the request is about says it, which whoever answers looks at. `public`: whoever reaches the listener.
 */
export type RouteAuth = 'public' | 'function' | Scope | readonly Scope[];

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Every route says it; one that does not cannot be registered. */
    auth?: RouteAuth;
  }
}

/** What the guard found. Not a property of the request, which each call of a function would have, too. */
const reaches = new WeakMap<FastifyRequest, Reach>();

/** The namespaces in which the caller may do what the route does; of a route without scopes, none. */
export function reachOfRequest(request: FastifyRequest): Reach {
  return reaches.get(request) ?? nowhere;
}

const nowhere: Reach = new Set();

/** Whether the guard stands before the route. */
export function isScoped(auth: RouteAuth): auth is Exclude<RouteAuth, 'public' | 'function'> {
  return auth !== 'public' && auth !== 'function';
}

/** @throws MillraceError for a route that does not say who may use it: what nobody thought of is closed. */
export function protect(route: RouteOptions, guard: Guard): void {
  const auth = route.config?.auth;
  const underSystem = /^\/system(?:\/|$)/.test(route.url);
  if (!isRouteAuth(auth) || (underSystem && !isScoped(auth))) {
    throw new MillraceError(
      'internal',
      `route ${String(route.method)} ${route.url} does not declare config.auth${underSystem ? ' as a scope' : ''}`,
    );
  }
  if (!isScoped(auth)) return;
  const wanted = [auth].flat();
  const others = route.onRequest === undefined ? [] : [route.onRequest].flat();
  route.onRequest = [
    async (request, reply) => {
      const reach = await guard(wanted, request, reply);
      if (reach === undefined) return reply; // Answered.
      reaches.set(request, reach);
    },
    ...others,
  ];
}

/** Routes of plugins may say anything at all. */
function isRouteAuth(auth: unknown): auth is RouteAuth {
  if (auth === 'public' || auth === 'function') return true;
  const words: unknown[] = [auth].flat();
  return words.length > 0 && words.every((word) => scopes.some((scope) => scope === word));
}
