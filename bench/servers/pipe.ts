import { createServer, request as call, Agent } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { listenReady } from './ready.ts';

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
listenReady(server);
