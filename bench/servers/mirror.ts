import { createServer } from 'node:http';
import { listenReady } from './ready.ts';

/** What large bodies are sent to: gives back what it gets, as it comes. */
const server = createServer((request, response) => request.pipe(response));
// Between two blocks of the peer are those of the other side: its connections must not end meanwhile.
server.keepAliveTimeout = 0;
listenReady(server);
