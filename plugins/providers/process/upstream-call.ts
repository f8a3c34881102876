import { PassThrough, Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../../core/contracts/clock.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import type { Body, Headers, Invocation, Outcome } from '../../../core/contracts/invocation.ts';
import type { Call } from '../../../core/contracts/provider.ts';
import { readAll } from '../../../core/kit/body.ts';
import { endToEnd, headerOf } from '../../../core/kit/headers.ts';
import { failed } from '../../../core/kit/outcome.ts';
import { abortedOutcome } from './runner.ts';

/** Bodies that say they are no longer than this go in one piece, in either direction: a stream costs more than they do. */
const smallBytes = 64 * 1024;

/**
 * Runs one call by a request to a server: streamed in both directions, followed nowhere, tried once. A status of the
 * server's is its answer, whatever it says; without one the outcome is a failure.
 */
export async function callUpstream(upstream: Dispatcher, call: Call, clock: Clock): Promise<Outcome> {
  const startedAt = clock.monotonic();
  const elapsedMs = (): number => clock.monotonic() - startedAt;
  const { invocation, signal } = call;
  let sent: Body = null;
  try {
    sent = await bodyToSend(invocation);
  } catch (error) {
    return brokenOff(messageOf(error), elapsedMs());
  }
  try {
    signal.throwIfAborted();
    const answer = await upstream.request({
      method: invocation.method,
      path: `${invocation.path === '' ? '/' : invocation.path}${invocation.query}`,
      headers: headersToSend(invocation.headers, sent),
      body: sent,
      signal,
    });
    return {
      status: answer.statusCode,
      headers: endToEnd(answer.headers as Headers),
      body: await answerBody(answer),
      durationMs: elapsedMs(),
      failure: undefined,
      error: undefined,
    };
  } catch (error) {
    if (signal.aborted) return abortedOutcome(signal.reason as DOMException, elapsedMs());
    if (invocation.body instanceof Readable && isBroken(invocation.body)) {
      return brokenOff(messageOf(error), elapsedMs());
    }
    if ((error as { code?: unknown }).code === 'UND_ERR_INVALID_ARG') {
      const message = `the request cannot be passed on: ${messageOf(error)}`;
      return failed('refused', { code: 'request.invalid', message }, elapsedMs());
    }
    const message = `the function's server gave no answer: ${messageOf(error)}`;
    return failed('connection', { code: 'function.unreachable', message }, elapsedMs());
  } finally {
    if (sent instanceof Readable && signal.aborted) sent.destroy();
  }
}

function brokenOff(reason: string, durationMs: number): Outcome {
  const message = `the body broke off: ${reason}`;
  return failed('cancelled', { code: 'invocation.client-gone', message }, durationMs);
}

function isBroken(body: Readable): boolean {
  return body.destroyed && !body.readableEnded;
}

async function bodyToSend({ body, headers }: Invocation): Promise<Body> {
  if (!(body instanceof Readable)) return body;
  if (declaredBytes(headers) > smallBytes) return shielded(body);
  return readAll(body, smallBytes, () => new Error('the body is longer than it says'));
}

/** Bytes that a message says it has; more than any number where it does not say. */
function declaredBytes(headers: Headers): number {
  return Number(headerOf(headers, 'content-length') ?? Infinity);
}

/**
 * The client destroys what it is given to send when the request ends early. That must not be the sender's own stream: it
 * is a connection, on which the answer is still to be written.
 */
function shielded(body: Readable): Readable {
  const copy = new PassThrough();
  body.on('error', (error) => copy.destroy(error));
  body.once('close', () => {
    if (!body.readableEnded) copy.destroy(new Error('the sender has gone'));
  });
  copy.on('error', () => undefined); // The client is told as well.
  copy.once('close', () => body.unpipe(copy).resume());
  if (isBroken(body)) copy.destroy(new Error('the sender has gone'));
  else body.pipe(copy);
  return copy;
}

function headersToSend(headers: Headers, body: Body): Record<string, string | string[]> {
  const kept = { ...endToEnd(headers) } as Record<string, string | string[]>;
  delete kept['expect']; // It was between the caller and the gateway, which has answered it.
  const length = headerOf(headers, 'content-length');
  if (body instanceof Readable && length !== undefined) kept['content-length'] = length;
  return kept;
}

async function answerBody({ body, headers, statusCode }: Dispatcher.ResponseData): Promise<Body> {
  body.on('error', () => undefined); // Whoever reads it is told as well; if nobody does, its end is no news.
  if (statusCode === 204 || statusCode === 304) {
    await body.dump();
    return null;
  }
  return declaredBytes(headers as Headers) <= smallBytes ? body.bytes() : body;
}
