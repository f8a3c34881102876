import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Accepted } from '../../core/contracts/delivery.ts';
import { errorCodes } from '../../core/contracts/errors.ts';
import type { Headers, Invocation, Outcome } from '../../core/contracts/invocation.ts';
import type { StoredResult } from '../../core/contracts/queue.ts';
import { hopByHop } from '../../core/kit/headers.ts';
import { refusalText, type Refusal } from '../../core/kit/outcome.ts';
import { bufferOf } from '../../core/kit/body.ts';
import { writeStream } from './stream.ts';

/** Names and values in turn, as Node takes them: a list costs less than an object that is read once. */
type HeaderList = string[];

/** Writes what came of a call; resolves when a streamed answer is over. */
export function writeOutcome(
  response: ServerResponse,
  outcome: Outcome,
  request: IncomingMessage,
  invocation: Invocation | undefined,
  product: string,
): void | Promise<void> {
  const { body, status } = outcome;
  const headers = answerHeaders(outcome.headers, product);
  if (invocation) headers.push('x-call-id', invocation.callId, 'x-start-time', startTime(invocation));
  headers.push('x-duration-seconds', (outcome.durationMs / 1000).toFixed(6));
  if (outcome.failure !== undefined) {
    // What OpenFaaS's own gateway says of a function that it cannot reach.
    headers.push('x-openfaas-internal', outcome.failure === 'connection' ? 'proxy' : 'millrace');
  }
  if (outcome.retryAfterSeconds !== undefined) headers.push('retry-after', String(outcome.retryAfterSeconds));
  if (outcome.headers['content-type'] === undefined && body !== null) {
    headers.push('content-type', request.headers['content-type'] ?? 'text/plain; charset=utf-8');
  }
  const length = lengthTold(outcome);
  const isHead = request.method === 'HEAD';
  if (body === null || typeof body === 'string' || body instanceof Uint8Array) {
    return writeWhole(response, status, headers, body ?? '', isHead ? length : undefined);
  }
  if (length !== undefined) headers.push('content-length', String(length));
  if (!head(response, status, headers)) {
    body.destroy();
    return;
  }
  if (isHead) {
    body.destroy();
    response.end();
    return;
  }
  return writeStream(response, body, length);
}

/** What the function says of the length of its answer, where it may say that; of a whole answer only HEAD needs it. */
function lengthTold({ status, headers }: Outcome): number | undefined {
  const text = headers['content-length'];
  if (typeof text !== 'string' || !/^\d{1,15}$/.test(text) || status === 204 || status === 304) return undefined;
  return Number(text);
}

/** 202: it is durable, and this is how to ask for it later. */
export function writeAccepted(response: ServerResponse, accepted: Accepted, product: string): void {
  const headers = ['x-call-id', accepted.callId, 'x-invocation-id', accepted.id];
  headers.push('location', `/invocations/${accepted.id}`, 'x-durability', accepted.durability);
  headers.push('x-start-time', `${Date.now()}000000`, 'x-served-by', product);
  if (accepted.duplicate) headers.push('x-duplicate', 'true');
  writeWhole(response, 202, headers, '');
}

/** The kept answer of a queued invocation that ended while its caller waited. */
export function writeResult(response: ServerResponse, result: StoredResult, accepted: Accepted, product: string): void {
  const headers = answerHeaders(result.headers, product);
  headers.push('x-call-id', accepted.callId, 'x-invocation-id', accepted.id);
  writeWhole(response, result.status, headers, result.body);
}

/** A refusal from before the pipeline. */
export function writeRefusal(response: ServerResponse, refusal: Refusal): void {
  const headers = ['content-type', 'application/json', 'x-openfaas-internal', 'millrace'];
  if (refusal.retryAfterSeconds !== undefined) headers.push('retry-after', String(refusal.retryAfterSeconds));
  writeWhole(response, errorCodes[refusal.code].status, headers, refusalText(refusal));
}

/** Bytes of an answer that go out in one piece with its head: as text of one byte a character, which Node joins. */
const oneWriteBytes = 8192;

/** What only the platform may say of a call. */
const ours: ReadonlySet<string> = new Set([
  'content-length',
  'x-served-by',
  'x-call-id',
  'x-invocation-id',
  'x-start-time',
  'x-duration-seconds',
  // With it the page of a function could take over the console, and every other function, in the browser of who opens it.
  'service-worker-allowed',
]);

function answerHeaders(from: Headers, product: string): HeaderList {
  const headers: HeaderList = [];
  for (const name in from) {
    const value = from[name];
    if (value === undefined || ours.has(name) || hopByHop.has(name)) continue;
    if (typeof value === 'string') headers.push(name, value);
    else for (const each of value) headers.push(name, each);
  }
  headers.push('x-served-by', product);
  return headers;
}

/** The pipeline has put it among the request's headers, for the function. */
function startTime({ headers, acceptedAt }: Invocation): string {
  const text = headers['x-start-time'];
  return typeof text === 'string' ? text : `${acceptedAt}000000`;
}

/** `length`: that of the body that is not sent, for HEAD. */
function writeWhole(
  response: ServerResponse,
  status: number,
  headers: HeaderList,
  body: string | Uint8Array,
  length?: number,
): void {
  const hasBody = status !== 204 && status !== 304;
  if (hasBody) {
    length ??= typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength;
    headers.push('content-length', String(length));
  }
  if (!head(response, status, headers)) return;
  if (!hasBody) response.end();
  else if (typeof body === 'string') response.end(body);
  else if (body.byteLength > oneWriteBytes) response.end(body);
  else response.end(bufferOf(body).toString('latin1'), 'latin1');
}

/** False when the function's status or headers cannot be sent; then the caller has been told so. */
function head(response: ServerResponse, status: number, headers: HeaderList): boolean {
  try {
    if (status < 200) throw new RangeError(`status ${status} is not a final one`);
    response.writeHead(status, headers);
    return true;
  } catch (error) {
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    const reason = error instanceof Error ? error.message : 'unknown';
    writeRefusal(response, {
      code: 'function.bad-response',
      message: `the function's answer cannot be sent: ${reason}`,
    });
    return false;
  }
}
