import type { FastifyReply, FastifyRequest } from 'fastify';
import { createHash, timingSafeEqual } from 'node:crypto';
import { MillraceError } from '../contracts/errors.ts';

/** Who may use `/system`: whoever reaches a loopback listener, or whoever knows the password. */
export type Auth = 'none' | { readonly basic: { readonly user: string; readonly password: string } };

/** Runs before a route of `/system` reads its body. Throws, or answers 401 and returns false. */
export type Guard = (request: FastifyRequest, reply: FastifyReply) => boolean;

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS']);
const loopbackNames = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
const loopbackHosts = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/;

/**
 * The rules of `/system`. Refuses to be made for a listener that others can reach without a password: the API can run,
 * replay and delete anything.
 */
export function managementGuard(auth: Auth, listenHost: string): Guard {
  const loopback = loopbackHosts.test(listenHost);
  if (auth === 'none' && !loopback) {
    throw new MillraceError(
      'config.invalid',
      `gateway.auth: without credentials the gateway listens on loopback only, not on ${listenHost}; set gateway.auth.basic`,
    );
  }
  const authorized = auth === 'none' ? () => true : basicCheck(auth.basic);
  return (request, reply) => {
    // A name of the attacker's that resolves to 127.0.0.1 makes a web page "same origin" with a local gateway.
    if (auth === 'none' && !loopbackNames.test(hostnameOf(request.headers.host))) {
      throw new MillraceError('request.forbidden', 'without credentials /system answers to localhost only');
    }
    if (!authorized(request.headers.authorization)) {
      // The words that OpenFaaS clients look for.
      reply
        .code(401)
        .header('www-authenticate', 'Basic realm="Restricted"')
        .type('text/plain; charset=utf-8')
        .send('invalid credentials');
      return false;
    }
    if (!safeMethods.has(request.method)) checkOrigin(request);
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
    return true;
  };
}

/** Compares digests, and always both, so that time tells neither a name, nor a length, nor a common beginning. */
function basicCheck(expected: { readonly user: string; readonly password: string }): (header?: string) => boolean {
  const user = sha256(expected.user);
  const password = sha256(expected.password);
  return (header = '') => {
    const token = /^basic +([A-Za-z0-9+/=]+) *$/i.exec(header)?.[1] ?? '';
    const text = Buffer.from(token, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    const userMatches = timingSafeEqual(sha256(colon === -1 ? '' : text.slice(0, colon)), user);
    const passwordMatches = timingSafeEqual(sha256(colon === -1 ? '' : text.slice(colon + 1)), password);
    return userMatches && passwordMatches && colon !== -1;
  };
}

/** Browsers add `Origin` to what a page sends elsewhere; programs do not. */
function checkOrigin(request: FastifyRequest): void {
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

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
