import type { ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { type ErrorCode, MillraceError } from '../contracts/errors.ts';
import { Reply } from './reply.ts';

/** What every refusal of the API looks like. */
export interface ErrorBody {
  readonly error: { readonly code: ErrorCode; readonly message: string };
}

/** A target that is longer than any that is answered: the table of codes has no status of its own for it. */
export class TargetTooLong extends MillraceError {
  override get status(): number {
    return 414;
  }
}

/** Answers with an error. One that is not meant for people is logged, and its message stays here. */
export function replyWithError(response: ServerResponse, thrown: unknown, logger: Logger, route?: string): void {
  const error =
    thrown instanceof MillraceError
      ? thrown
      : new MillraceError('internal', 'something went wrong in the gateway; its log says what');
  // Who has gone away mid-request is no fault of ours, and will not read this.
  const isGone = response.req.readableAborted || response.destroyed;
  if (error.code === 'internal' && !isGone) logger.error({ err: thrown, route }, 'a request failed');
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const reply = new Reply(response);
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', String(error.retryAfterSeconds));
  asRefusal(reply)
    .code(error.status)
    .type('application/json; charset=utf-8')
    .send(errorBody(error.code, error.message));
}

/** Answers what there is no route for. */
export function replyNotFound(response: ServerResponse): void {
  const message = `no route for ${response.req.method} on this path`;
  new Reply(response).code(404).send(errorBody('route.unknown', message));
}

/** Marks an answer as the platform's own, in the word that OpenFaaS clients know: no function made this status. */
export function asRefusal(reply: Reply): Reply {
  return reply.header('x-openfaas-internal', 'millrace');
}

export function errorBody(code: ErrorCode, message: string): ErrorBody {
  return { error: { code, message } };
}
