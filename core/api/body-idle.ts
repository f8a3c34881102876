import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** What a connection had brought when it was last looked at. */
interface Progress {
  bytes: number;
  /** Looks in a row at which nothing had come. */
  idleLooks: number;
}

const looksPerLimit = 4;

/**
 * Ends connections whose request body stops coming, between `idleMs` and half as much again after its last byte. There
 * is no limit on the whole: an upload may take hours. A body that waits because the function reads slowly is not the
 * sender's fault, and goes on.
 *
 * One timer looks at every connection, and a request leaves no trace here: a timer armed for each would cost as much as
 * a stage of the pipeline, and a reference kept to each makes the collector take requests for long-lived.
 */
export function limitBodyIdleTime(server: Server, idleMs: number): void {
  const connections = new Map<Socket, Progress>();
  server.on('connection', (socket: Socket) => {
    connections.set(socket, { bytes: 0, idleLooks: 0 });
    socket.once('close', () => connections.delete(socket));
  });
  const timer = setInterval(() => {
    for (const [socket, progress] of connections) {
      if (!awaitsBody(socket) || socket.bytesRead !== progress.bytes) {
        progress.bytes = socket.bytesRead;
        progress.idleLooks = 0;
      } else if (++progress.idleLooks > looksPerLimit) {
        socket.destroy();
      }
    }
  }, idleMs / looksPerLimit);
  timer.unref();
  server.once('close', () => clearInterval(timer));
}

/** Whether the connection's request has bytes to come, and none of it that the function has still to read. */
function awaitsBody(socket: Socket): boolean {
  // The answer that the connection waits for; Node has no public name for it.
  const request = (socket as { _httpMessage?: ServerResponse | null })._httpMessage?.req;
  return request !== undefined && !request.complete && request.readableLength === 0;
}
