// A function as a server of its own, in any language: it listens on PORT and answers HTTP.
import { createServer } from 'node:http';

createServer((request, response) => {
  if (request.url === '/_/ready') response.end();
  else response.end(`Hello from process ${process.pid}\n`);
}).listen(Number(process.env.PORT), '127.0.0.1');
