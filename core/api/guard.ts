import type { IncomingMessage } from 'node:http';
import type { Authenticator } from '../auth/authenticator.ts';
import { type Reach, reachOf } from '../auth/principal.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Scope } from '../contracts/route.ts';
import type { Reply } from './reply.ts';

/**
 * Runs before a route that asks for one of the scopes reads its body. Says in which namespaces the caller has one; throws,
 * or answers 401 and says undefined. `path`: that of the route.
 */
export type Guard = (
  scopes: readonly Scope[],
  request: IncomingMessage,
  reply: Reply,
  path: string,
) => Promise<Reach | undefined>;

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS']);
const loopbackNames = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const loopbackHosts = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/;

/**
 * The rules of the API. Refuses to be made for a listener that others can reach without credentials: the API can run,
 * replay and delete anything.
 */
export function apiGuard(authenticator: Authenticator, listenHost: string): Guard {
  if (authenticator.isOff && !loopbackHosts.test(listenHost)) {
    throw new MillraceError(
      'config.invalid',
      `gateway.auth: without credentials the gateway listens on loopback only, not on ${listenHost}; set gateway.auth.basic`,
    );
  }
  return async (scopes, request, reply, path) => {
    // A name of the attacker's that resolves to 127.0.0.1 makes a web page "same origin" with a local gateway.
    if (authenticator.isOff && !loopbackNames.test(hostnameOf(request.headers.host))) {
      throw new MillraceError('request.forbidden', 'without credentials /system answers to localhost only');
    }
    const { method = '' } = request;
    const place = `${method} ${path}`;
    const principal = await authenticator.principal(request.headers.authorization, place);
    if (!principal) {
      reply
        .code(401)
        .header('www-authenticate', [...authenticator.challenges])
        .type('text/plain; charset=utf-8')
        .send('invalid credentials');
      return undefined;
    }
    if (!safeMethods.has(method)) checkOrigin(request);
    const reach = reachOf(principal, scopes);
    if (reach !== 'all' && reach.size === 0) {
      authenticator.forbidden(principal, place);
      throw new MillraceError('request.forbidden', `insufficient permissions: this takes ${scopes.join(' or ')}`);
    }
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
    return reach;
  };
}

/** Browsers add `Origin` to what a page sends elsewhere; programs do not. */
function checkOrigin(request: IncomingMessage): void {
  const { origin, host } = request.headers;
  if (origin === undefined) return;
  const originHost = URL.parse(origin)?.host;
  if (!originHost || originHost !== URL.parse(`http://${host ?? ''}`)?.host) {
    throw new MillraceError('request.forbidden', 'a web page of another origin may not change anything here');
  }
}

function hostnameOf(host: string | undefined): string {
  return (host ?? '').toLowerCase().replace(/:\d{1,5}$/, '');
}
