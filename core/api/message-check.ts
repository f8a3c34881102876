import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** Connections with a request that was refused here: what follows on them cannot be trusted. */
const distrusted = new WeakSet<Socket>();

/**
 * The status to refuse a request with that Node's parser lets through, though others may read it in another way, or that
 * has more than `maxHeaders` headers; undefined for all others. The target of the whole-URL form becomes a path.
 *
 * Its connection is to be closed, and what the parser has found behind it there is `distrusted`.
 */
export function faultOf(request: IncomingMessage, maxHeaders: number): number | 'distrusted' | undefined {
  if (distrusted.has(request.socket)) return 'distrusted';
  const fault = statusOf(request, maxHeaders);
  if (fault !== undefined) distrusted.add(request.socket);
  return fault;
}

function statusOf(request: IncomingMessage, maxHeaders: number): number | undefined {
  const { rawHeaders, headers } = request;
  if (request.httpVersionMajor !== 1) return 505;
  // Node would leave some out in silence (`maxHeadersCount`), of which one may say how long the body is.
  if (rawHeaders.length > 2 * maxHeaders) return 431;
  // A list that ends with `chunked` is decoded as if the other codings were none (RFC 9112 §6.1).
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') return 501;
  if (hasTwoHosts(rawHeaders)) return 400;
  return request.url?.startsWith('/') === true || takePath(request) ? undefined : 400;
}

/** Node keeps the first (RFC 9112 §3.2 wants it refused). */
function hasTwoHosts(rawHeaders: readonly string[]): boolean {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  return hosts > 1;
}

/** Of `http://HOST/PATH`, whose host counts and not that of the header (RFC 9112 §3.2.2). */
function takePath(request: IncomingMessage): boolean {
  const [, host, path] = /^https?:\/\/([-\w.~%[\]:]+)(\/[^#]*)$/i.exec(request.url ?? '') ?? [];
  if (host === undefined || path === undefined) return false;
  request.url = path;
  request.headers.host = host;
  return true;
}
