import { Queue } from 'bullmq';
import fastify from 'fastify';

/** The peer of the durable accept: what a service does that puts its work into BullMQ, on the Redis that is named. */
const { hostname: host, port } = new URL(process.argv[2] ?? '');
const queue = new Queue('accepted', { connection: { host, port: Number(port) } });
await queue.waitUntilReady();
const server = fastify();
server.removeAllContentTypeParsers();
server.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));
server.post('/async-function/noop', async (request, reply) => {
  const job = await queue.add('job', { body: request.body });
  return reply.code(202).header('x-call-id', job.id).send();
});
console.log(JSON.stringify({ msg: 'ready', url: await server.listen({ host: '127.0.0.1', port: 0 }) }));
