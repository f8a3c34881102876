import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Listens on a free port, and says so as a gateway does (`startSubject` waits for that line). */
export function listenReady(server: Server): void {
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address() as AddressInfo;
    console.log(JSON.stringify({ msg: 'ready', url: `http://127.0.0.1:${port}` }));
  });
}
