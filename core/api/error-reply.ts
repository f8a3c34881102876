import type { FastifyReply } from 'fastify';
import type { Logger } from 'pino';
import { type ErrorCode, MillraceError } from '../contracts/errors.ts';

/** What every refusal of the API looks like. */
export interface ErrorBody {
  readonly error: { readonly code: ErrorCode; readonly message: string };
}

/** Answers with an error. One that is not meant for people is logged, and its message stays here. */
export function replyWithError(reply: FastifyReply, thrown: unknown, logger: Logger): FastifyReply {
  const error = publicError(thrown);
  // Who has gone away mid-request is no fault of ours, and will not read this.
  if (error.code === 'internal' && !reply.request.raw.readableAborted) {
    logger.error({ err: thrown, route: reply.request.routeOptions.url }, 'a request failed');
  }
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', String(error.retryAfterSeconds));
  // Fastify's own errors know statuses that the table of codes does not (414, 431); theirs is the more exact one.
  const status = error.code === 'request.invalid' ? (clientStatusOf(thrown) ?? error.status) : error.status;
  return asRefusal(reply).code(status).type('application/json').send(errorBody(error.code, error.message));
}

/** Marks an answer as the platform's own, in the word that OpenFaaS clients know: no function made this status. */
export function asRefusal(reply: FastifyReply): FastifyReply {
  return reply.header('x-openfaas-internal', 'millrace');
}

export function errorBody(code: ErrorCode, message: string): ErrorBody {
  return { error: { code, message } };
}

function publicError(thrown: unknown): MillraceError {
  if (thrown instanceof MillraceError) return thrown;
  const status = clientStatusOf(thrown);
  if (status === undefined)
    return new MillraceError('internal', 'something went wrong in the gateway; its log says what');
  const message = thrown instanceof Error ? thrown.message : 'the request is malformed';
  if (status === 413) return new MillraceError('limit.body', 'the body is larger than this route takes');
  if (status === 415) return new MillraceError('request.media-type', 'send the body as application/json');
  return new MillraceError('request.invalid', message);
}

/** The status of an error that Fastify made of a bad request. */
function clientStatusOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || thrown instanceof MillraceError) return undefined;
  const { statusCode, code } = thrown as { statusCode?: unknown; code?: unknown };
  if (typeof code !== 'string' || !code.startsWith('FST_')) return undefined;
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}
