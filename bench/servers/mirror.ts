import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What large bodies are sent to: gives back what it gets, as it comes. */
const server = createServer((request, response) => request.pipe(response));
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  console.log(JSON.stringify({ msg: 'ready', url: `http://127.0.0.1:${port}` }));
});
