import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';

/** A port of this host that nobody listens on: `wanted`, or any. Rejects when that one is taken. */
export async function freePort(hostname: string, wanted = 0): Promise<number> {
  const server = createServer();
  server.listen(wanted, hostname);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether somebody accepts a connection there. */
export function accepts(hostname: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, hostname);
    const done = (accepted: boolean) => (): void => {
      socket.destroy();
      resolve(accepted);
    };
    socket.once('connect', done(true)).once('error', done(false));
  });
}
