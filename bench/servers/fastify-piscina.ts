import fastify from 'fastify';
import { Piscina } from 'piscina';

/** The peer of a pooled function: the same handler in a pool of as many threads. */
const pool = new Piscina({
  filename: new URL('./piscina-echo.ts', import.meta.url).href,
  minThreads: 1,
  maxThreads: 1,
  concurrentTasksPerWorker: 1,
});
const server = fastify();
server.removeAllContentTypeParsers();
server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
server.post('/function/echo', async (request, reply) => {
  reply.type(request.headers['content-type'] ?? 'text/plain');
  const body = new Uint8Array(request.body as Buffer);
  return reply.send(Buffer.from((await pool.run({ headers: request.headers, body })) as Uint8Array));
});
console.log(JSON.stringify({ msg: 'ready', url: await server.listen({ host: '127.0.0.1', port: 0 }) }));
