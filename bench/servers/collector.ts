import { createServer } from 'node:http';
import { listenReady } from './ready.ts';

/** Takes traces and keeps nothing of them. */
const server = createServer((request, response) => request.resume().on('end', () => response.end()));
listenReady(server);
