import { createServer } from 'node:http';
import { listenReady } from './ready.ts';

/** What the proxies stand in front of: gives back what it gets. */
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    response.setHeader('content-type', request.headers['content-type'] ?? 'text/plain');
    response.end(Buffer.concat(chunks));
  });
});
server.keepAliveTimeout = 60_000;
listenReady(server);
