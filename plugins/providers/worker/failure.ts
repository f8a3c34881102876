import { errorCodes, type ErrorCode } from '../../../core/contracts/errors.ts';
import type { FailureClass, Outcome } from '../../../core/contracts/invocation.ts';

/**
 * The outcome of an attempt without a good answer. Without a class it is the function's own doing (it threw): then the
 * status alone decides whether it is tried again.
 */
export function failure(
  failureClass: FailureClass | undefined,
  code: ErrorCode,
  message: string,
  durationMs: number,
): Outcome {
  return {
    status: errorCodes[code].status,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ error: { code, message } }),
    durationMs,
    failure: failureClass,
    error: { code, message },
  };
}
