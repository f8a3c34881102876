import { fdatasync, openSync, write } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { listenReady } from './ready.ts';

/** The least that a durable accept can be: what it gets is in a file and synced, together with what came meanwhile. */
const file = openSync(process.argv[2] ?? '', 'a');
const [append, sync] = [promisify(write), promisify(fdatasync)];
let gathered: { readonly bytes: Buffer; readonly response: ServerResponse }[] = [];
let writing = false;

async function flush(): Promise<void> {
  writing = true;
  while (gathered.length > 0) {
    const batch = gathered;
    gathered = [];
    await append(file, Buffer.concat(batch.map(({ bytes }) => bytes)));
    await sync(file);
    for (const { response } of batch) response.writeHead(202).end();
  }
  writing = false;
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    gathered.push({ bytes: Buffer.concat(chunks), response });
    if (!writing) void flush();
  });
});
server.keepAliveTimeout = 60_000;
listenReady(server);
