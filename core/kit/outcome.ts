import { errorCodes, type ErrorCode } from '../contracts/errors.ts';
import type { FailureClass, Outcome } from '../contracts/invocation.ts';

/** What a caller is told when there is no answer of the function's own. `MillraceError` is one. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryAfterSeconds?: number | undefined;
}

/** For whoever comes when nothing is taken any more. */
export const stopping: Refusal = {
  code: 'gateway.stopping',
  message: 'the gateway is shutting down',
  retryAfterSeconds: 1,
};

/** The body of every answer that the platform makes. */
export function refusalText({ code, message }: Refusal): string {
  return JSON.stringify({ error: { code, message } });
}

/**
 * The outcome of an attempt without a good answer. Without a class it is the function's own doing (it threw): then the
 * status alone decides whether it is tried again.
 */
export function failed(failure: FailureClass | undefined, refusal: Refusal, durationMs: number): Outcome {
  const { code, message, retryAfterSeconds } = refusal;
  return {
    status: errorCodes[code].status,
    headers: { 'content-type': 'application/json' },
    body: refusalText(refusal),
    durationMs,
    failure,
    error: { code, message },
    retryAfterSeconds,
  };
}
