import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Transform, type Readable } from 'node:stream';
import { hopByHop } from '../../core/kit/headers.ts';

const peers = new WeakMap<Socket, string>();

/**
 * The caller's headers as the function gets them: without those of the connection, with the peer's address where no
 * proxy has told one. What `Connection` names goes first, so that a caller cannot strip what is added here.
 */
export function forwardedHeaders(request: IncomingMessage): Record<string, string | string[]> {
  const received = request.headers as Record<string, string | string[]>;
  const connection = received['connection'];
  const named = typeof connection === 'string' && connection.toLowerCase() !== 'keep-alive' ? connection : undefined;
  const nominated = named?.split(',').map((name) => name.trim().toLowerCase());
  // Copied, not deleted from: deleting makes an object a slow one for everything that follows.
  const headers: Record<string, string | string[]> = {};
  for (const name in received) {
    if (hopByHop.has(name) || nominated?.includes(name)) continue;
    const value = received[name];
    if (value === undefined) continue;
    if (name === '__proto__') Object.defineProperty(headers, name, { value, enumerable: true });
    else headers[name] = value;
  }
  if (headers['x-forwarded-for'] === undefined) headers['x-forwarded-for'] = peerOf(request.socket);
  const { host } = headers;
  if (host !== undefined && headers['x-forwarded-host'] === undefined) headers['x-forwarded-host'] = host;
  return headers;
}

/** `ip:port`, asked of the system once a connection. */
function peerOf(socket: Socket): string {
  let peer = peers.get(socket);
  if (peer === undefined) {
    peer = `${socket.remoteAddress}:${socket.remotePort}`;
    peers.set(socket, peer);
  }
  return peer;
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
