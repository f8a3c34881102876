/**
 * Stands in for a payment service. As theirs do, it has cards for tests: `empty` is declined, `unsteady` is answered 503 the
 * first time. `GET /` tells what was asked of it, in order.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';

const asked: { readonly key: string; readonly status: number }[] = [];
const charged = new Set<string>();

function statusOf(key: string, card: string): number {
  if (charged.has(key)) return 200; // As the first time, and nothing is charged again.
  if (card === 'empty') return 402;
  if (card === 'unsteady' && !asked.some((each) => each.key === key)) return 503;
  charged.add(key);
  return 201;
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === 'GET') return void response.end(JSON.stringify(asked));
  const { card } = (await json(request)) as { card: string };
  const key = String(request.headers['idempotency-key']);
  const status = statusOf(key, card);
  asked.push({ key, status });
  response.writeHead(status).end(status === 402 ? 'the card is declined' : `status ${status}`);
}

const server = createServer((request, response) => void answer(request, response));
server.listen(Number(process.env['PAYMENTS_PORT'] ?? 9090), '127.0.0.1', () => {
  process.stdout.write(`payments: http://127.0.0.1:${(server.address() as { port: number }).port}\n`);
});
