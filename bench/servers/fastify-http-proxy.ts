import proxy from '@fastify/http-proxy';
import fastify from 'fastify';

/** The peer of the http provider, over the same client library with as many connections. */
const server = fastify();
await server.register(proxy, {
  upstream: process.argv[2] ?? '',
  prefix: '/function/echo',
  undici: { connections: 128, pipelining: 1, keepAliveTimeout: 60_000, headersTimeout: 0, bodyTimeout: 0 },
});
console.log(JSON.stringify({ msg: 'ready', url: await server.listen({ host: '127.0.0.1', port: 0 }) }));
