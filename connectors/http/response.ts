import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Accepted } from '../../core/contracts/delivery.ts';
import { MillraceError } from '../../core/contracts/errors.ts';
import type { Headers, Invocation, Outcome } from '../../core/contracts/invocation.ts';
import type { StoredResult } from '../../core/contracts/queue.ts';
import { hopByHop } from '../../core/kit/headers.ts';

/** Writes what came of a call; resolves when a streamed answer is over. */
export function writeOutcome(
  response: ServerResponse,
  outcome: Outcome,
  request: IncomingMessage,
  invocation: Invocation | undefined,
  product: string,
): void | Promise<void> {
  const headers = answerHeaders(outcome.headers, product);
  if (invocation) {
    headers['x-call-id'] = invocation.callId;
    headers['x-start-time'] = `${invocation.acceptedAt}000000`;
  }
  headers['x-duration-seconds'] = (outcome.durationMs / 1000).toFixed(6);
  if (outcome.failure !== undefined) headers['x-openfaas-internal'] = 'millrace';
  if (outcome.retryAfterSeconds !== undefined) headers['retry-after'] = String(outcome.retryAfterSeconds);
  const { body, status } = outcome;
  if (headers['content-type'] === undefined && body !== null) {
    headers['content-type'] = request.headers['content-type'] ?? 'text/plain; charset=utf-8';
  }
  if (body === null || typeof body === 'string' || body instanceof Uint8Array) {
    return writeWhole(response, status, headers, body ?? '');
  }
  if (!head(response, status, headers)) {
    body.destroy();
    return;
  }
  if (request.method === 'HEAD') {
    body.destroy();
    response.end();
    return;
  }
  // The status has gone out: all that can be said about a broken stream is to break the connection.
  return pipeline(body, response).catch(() => void response.destroy());
}

/** 202: it is durable, and this is how to ask for it later. */
export function writeAccepted(response: ServerResponse, accepted: Accepted, product: string): void {
  writeWhole(
    response,
    202,
    {
      'x-call-id': accepted.callId,
      'x-invocation-id': accepted.id,
      location: `/invocations/${accepted.id}`,
      'x-durability': accepted.durability,
      'x-start-time': `${Date.now()}000000`,
      'x-served-by': product,
      ...(accepted.duplicate && { 'x-duplicate': 'true' }),
    },
    '',
  );
}

/** The kept answer of a queued invocation that ended while its caller waited. */
export function writeResult(response: ServerResponse, result: StoredResult, accepted: Accepted, product: string): void {
  const headers = answerHeaders(result.headers, product);
  headers['x-call-id'] = accepted.callId;
  headers['x-invocation-id'] = accepted.id;
  writeWhole(response, result.status, headers, result.body);
}

/** A refusal from before the pipeline. */
export function writeError(response: ServerResponse, error: MillraceError): void {
  const headers: Record<string, string> = { 'content-type': 'application/json', 'x-openfaas-internal': 'millrace' };
  if (error.retryAfterSeconds !== undefined) headers['retry-after'] = String(error.retryAfterSeconds);
  writeWhole(response, error.status, headers, JSON.stringify({ error: { code: error.code, message: error.message } }));
}

function answerHeaders(from: Headers, product: string): Record<string, string | readonly string[]> {
  const headers: Record<string, string | readonly string[]> = {};
  for (const name in from) {
    const value = from[name];
    if (value !== undefined && name !== 'content-length' && !hopByHop.has(name)) headers[name] = value;
  }
  headers['x-served-by'] = product;
  return headers;
}

function writeWhole(
  response: ServerResponse,
  status: number,
  headers: Record<string, string | readonly string[]>,
  body: string | Uint8Array,
): void {
  const hasBody = status !== 204 && status !== 304;
  if (hasBody) headers['content-length'] = String(typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength);
  if (head(response, status, headers)) response.end(hasBody ? body : undefined);
}

/** False when the function's status or headers cannot be sent; then the caller has been told so. */
function head(response: ServerResponse, status: number, headers: Record<string, string | readonly string[]>): boolean {
  try {
    if (status < 200) throw new RangeError(`status ${status} is not a final one`);
    response.writeHead(status, headers as Record<string, string | string[]>);
    return true;
  } catch (error) {
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    const reason = error instanceof Error ? error.message : 'unknown';
    writeError(response, new MillraceError('function.bad-response', `the function's answer cannot be sent: ${reason}`));
    return false;
  }
}
