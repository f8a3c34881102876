import { createServer, request as call, Agent } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';

/** The least that a proxy of large bodies can be: two pipes. */
const agent = new Agent({ keepAlive: true });
const server = createServer((request, response) => {
  const forwarded = call(process.argv[2] ?? '', { agent, method: 'POST', headers: { 'content-type': 'text/plain' } });
  forwarded.on('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502);
    void pipeline(answer, response);
  });
  void pipeline(request, forwarded);
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  console.log(JSON.stringify({ msg: 'ready', url: `http://127.0.0.1:${port}` }));
});
