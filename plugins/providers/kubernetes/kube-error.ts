import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';

/** The part of a `Status` of the API server that is used here. */
interface Status {
  readonly message?: string;
  readonly reason?: string;
  readonly code?: number;
  readonly details?: { readonly retryAfterSeconds?: number };
}

/** What the API server answered instead of what was asked for; `status` 0: it did not answer. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  readonly status: number;
  /** The server's word: `NotFound`, `AlreadyExists`, `Conflict`, `Expired`, `Invalid`, …; `Unreachable` for status 0. */
  readonly reason: string;
  /** When it may be asked again, where it says so. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    about: { status: number; reason: string; retryAfterMs?: number | undefined; cause?: unknown },
  ) {
    super(message, about.cause === undefined ? undefined : { cause: about.cause });
    this.status = about.status;
    this.reason = about.reason;
    this.retryAfterMs = about.retryAfterMs;
  }

  /** Of the body of an answer, or of an event `ERROR` of a watch. */
  static of(status: number, body: unknown, retryAfter?: string): KubeError {
    const told = (typeof body === 'object' && body !== null ? body : {}) as Status;
    const seconds = Number(retryAfter ?? told.details?.retryAfterSeconds ?? Number.NaN);
    return new KubeError(told.message ?? `the API server answered ${status}`, {
      status: told.code ?? status,
      reason: told.reason ?? `Status${status}`,
      retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : undefined,
    });
  }

  static unreachable(error: unknown): KubeError {
    const message = `the API server cannot be reached: ${messageOf(error)}`;
    return new KubeError(message, { status: 0, reason: 'Unreachable', cause: error });
  }

  /** The version that was asked for is gone: list again. */
  get isExpired(): boolean {
    return this.status === 410;
  }
}

/** Whether `error` is an answer of that status. */
export function isKubeError(error: unknown, ...statuses: readonly number[]): error is KubeError {
  return error instanceof KubeError && (statuses.length === 0 || statuses.includes(error.status));
}

/** Whether asking again would not help: it is wrong by itself, and not for want of an API server. */
export function isFinal(error: unknown): boolean {
  return error instanceof MillraceError && error.code !== 'provider.unavailable';
}

export function notStarted(): MillraceError {
  return new MillraceError('provider.unavailable', 'the provider is not started');
}

/** What the API server says, for whoever asked Millrace; what is none of its errors is given back as it is. */
export function toldOf(error: unknown, what: string): unknown {
  if (!(error instanceof KubeError)) return error;
  const { status, retryAfterMs, message } = error;
  const code = status === 409 ? 'request.conflict' : [400, 404, 422].includes(status) ? 'request.invalid' : undefined;
  return new MillraceError(code ?? 'provider.unavailable', `${what}: ${message}`, {
    cause: error,
    ...(retryAfterMs !== undefined && { retryAfterSeconds: Math.ceil(retryAfterMs / 1000) }),
  });
}
