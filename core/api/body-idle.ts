import type { IncomingMessage, Server, ServerResponse } from 'node:http';

/**
 * Ends connections whose request body stops coming. There is no limit on the whole: an upload may take hours. A body
 * that waits because the function reads slowly is not the sender's fault, and goes on.
 */
export function limitBodyIdleTime(server: Server, idleMs: number): void {
  // First in line: the router's listener may read the body to its end before it returns.
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const { headers, socket } = request;
    if (headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0') return;
    socket.setTimeout(idleMs);
    request.on('timeout', () => {
      if (request.readableLength > 0) socket.setTimeout(idleMs);
      else socket.destroy();
    });
    request.once('end', () => {
      // After the answer the socket's timer belongs to keep-alive.
      if (!response.writableEnded) socket.setTimeout(0);
    });
  });
}
