import { connect } from 'node:net';
import { type buildConnector, errors } from 'undici';

/** Connects without TLS, within `timeoutMs` to the millisecond: undici's own timer may be a second late. */
export function plainConnector(timeoutMs: number): buildConnector.connector {
  return ({ hostname, port }, callback) => {
    const socket = connect({ host: hostname, port: Number(port || 80), noDelay: true, keepAlive: true });
    const timer = setTimeout(() => socket.destroy(new errors.ConnectTimeoutError()), timeoutMs);
    let isTold = false;
    socket.once('connect', () => {
      clearTimeout(timer);
      isTold = true;
      callback(null, socket);
    });
    // Once it is connected its errors are for whoever has it.
    socket.on('error', (error) => {
      clearTimeout(timer);
      if (!isTold) callback(error, null);
      isTold = true;
    });
    return socket;
  };
}
