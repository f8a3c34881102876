import fastify from 'fastify';

/** The peer of an inline function: a bare route with the same handler. */
const server = fastify();
server.removeAllContentTypeParsers();
server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
server.post('/function/echo', (request, reply) => {
  reply.type(request.headers['content-type'] ?? 'text/plain');
  return reply.send(request.body);
});
console.log(JSON.stringify({ msg: 'ready', url: await server.listen({ host: '127.0.0.1', port: 0 }) }));
