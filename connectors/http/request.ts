import type { IncomingMessage } from 'node:http';
import { type BlockList, isIP, isIPv6, type Socket } from 'node:net';
import { Transform, type Readable } from 'node:stream';
import { conveyedCaller } from '../../core/kit/caller.ts';
import { hopByHop, nominated } from '../../core/kit/headers.ts';

/** What a proxy tells of the caller before it. Only those that are trusted may. */
const told = [
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-prefix',
  'x-forwarded-proto',
  'x-forwarded-scheme',
  'x-forwarded-server',
  'x-forwarded-ssl',
  'x-forwarded-user',
  'x-real-ip',
];
/** What the platform says of a call. */
const ours = ['x-call-id', 'x-connector', 'x-invocation-id', 'x-retry', 'x-start-time', 'x-topic'];
const byProxies: ReadonlySet<string> = new Set(told);
/** Of these, what is never passed on: CGI and its heirs take `x_call_id` for `x-call-id`. */
const dropped: ReadonlySet<string> = new Set([...hopByHop, ...[...told, ...ours].flatMap(aliases)]);

/** Every spelling with one or more `_` for `-`. */
function aliases(name: string): string[] {
  const [first = '', ...rest] = name.split('-');
  const spelled = rest.reduce(
    (begun, part) => begun.flatMap((each) => [`${each}-${part}`, `${each}_${part}`]),
    [first],
  );
  return spelled.filter((each) => each !== name);
}

interface Peer {
  /** `ip:port` */
  readonly name: string;
  readonly isTrusted: boolean;
}

const peers = new WeakMap<Socket, Peer>();

/**
 * The caller's headers as the function gets them: without those of the connection, with the peer's address where no
 * trusted proxy has told one. What `Connection` names goes first, so that a caller cannot strip what is added here.
 */
export function forwardedHeaders(request: IncomingMessage, trusted: BlockList): Record<string, string | string[]> {
  const received = request.headers as Record<string, string | string[]>;
  const named = nominated(request.headers.connection);
  const peer = peerOf(request, trusted);
  // Copied, not deleted from: deleting makes an object a slow one for everything that follows.
  const headers: Record<string, string | string[]> = {};
  for (const name in received) {
    if (dropped.has(name) || named?.includes(name) || (!peer.isTrusted && byProxies.has(name))) continue;
    const value = received[name];
    if (value === undefined) continue;
    if (name === '__proto__') Object.defineProperty(headers, name, { value, enumerable: true });
    else headers[name] = value;
  }
  if (headers['x-forwarded-for'] === undefined) headers['x-forwarded-for'] = peer.name;
  const { host } = headers;
  if (host !== undefined && headers['x-forwarded-host'] === undefined) headers['x-forwarded-host'] = host;
  return headers;
}

/** Asked of the system once a connection. One over which another process passes calls on has those of many. */
function peerOf(request: IncomingMessage, trusted: BlockList): Peer {
  const { socket } = request;
  let peer = peers.get(socket);
  if (peer === undefined) {
    const conveyed = conveyedCaller(request);
    if (conveyed) return peerAt(conveyed.address, conveyed.port, trusted);
    peer = peerAt(socket.remoteAddress, socket.remotePort, trusted);
    peers.set(socket, peer);
  }
  return peer;
}

function peerAt(address: string | undefined, port: number | undefined, trusted: BlockList): Peer {
  const isTrusted = isIP(address ?? '') !== 0 && trusted.check(address ?? '', isIPv6(address ?? '') ? 'ipv6' : 'ipv4');
  return { name: `${address}:${port}`, isTrusted };
}

/** The stream, ended with an error once more than `maxBytes` have come. */
export function limited(stream: Readable, maxBytes: number, onTooLarge: () => void): Readable {
  let size = 0;
  const limit = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size <= maxBytes) return done(null, chunk);
      onTooLarge();
      done(new Error(`the body is larger than ${maxBytes} bytes`));
    },
  });
  stream.on('error', (error) => limit.destroy(error));
  limit.on('error', () => stream.resume()); // What still comes is read and forgotten, so that the answer gets out.
  return stream.pipe(limit);
}

/** The parts of a request's target. */
export interface Target {
  /** All of the path. */
  readonly whole: string;
  readonly name: string;
  readonly path: string;
  readonly query: string;
}

/** `/function/NAME/rest?query` → its parts, as the caller spelled them. By hand: URL() costs more than the stages. */
export function targetOf(url: string, start: number): Target {
  const queryAt = url.indexOf('?', start);
  const end = queryAt === -1 ? url.length : queryAt;
  const slash = url.indexOf('/', start);
  const nameEnd = slash === -1 || slash > end ? end : slash;
  return {
    whole: url.slice(0, end),
    name: url.slice(start, nameEnd),
    path: url.slice(nameEnd, end),
    query: url.slice(end),
  };
}
