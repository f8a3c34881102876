import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Takes traces and keeps nothing of them. */
const server = createServer((request, response) => request.resume().on('end', () => response.end()));
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  console.log(JSON.stringify({ msg: 'ready', url: `http://127.0.0.1:${port}` }));
});
