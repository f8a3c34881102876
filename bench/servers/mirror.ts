import { createServer } from 'node:http';
import { listenReady } from './ready.ts';

/** What large bodies are sent to: gives back what it gets, as it comes. */
const server = createServer((request, response) => request.pipe(response));
listenReady(server);
