/**
 * The one table of error codes. A code is stable: clients, alerts and documentation refer to it.
 * `status` is the HTTP status it is answered with; `retryable` says whether the same request may succeed later.
 * docs/errors.md lists the same codes; a test compares the two.
 */
export const errorCodes = {
  'request.invalid': {
    status: 400,
    retryable: false,
    summary: 'The request is malformed; the message names the part.',
  },
  'request.unauthorized': { status: 401, retryable: false, summary: 'Credentials are missing or wrong.' },
  'request.forbidden': {
    status: 403,
    retryable: false,
    summary: 'Its credentials do not allow it, or it comes from a web page of another origin.',
  },
  'issuer.unavailable': {
    status: 503,
    retryable: true,
    summary: 'The issuer of the token cannot be asked for its keys now.',
  },
  'route.unknown': { status: 404, retryable: false, summary: 'There is no such path, or not for this method.' },
  'request.conflict': { status: 409, retryable: false, summary: 'The request does not fit the present state.' },
  'request.media-type': { status: 415, retryable: false, summary: 'The management API takes application/json only.' },
  'function.missing': { status: 404, retryable: true, summary: 'No function of that name is deployed.' },
  'deploy.disabled': {
    status: 403,
    retryable: false,
    summary: 'No provider of the configuration takes what is deployed through the API, or keeps secrets for it.',
  },
  'namespace.missing': { status: 404, retryable: false, summary: 'No namespace of that name exists.' },
  'secret.missing': { status: 404, retryable: false, summary: 'No secret of that name exists.' },
  'function.not-ready': { status: 503, retryable: true, summary: 'The function did not become ready in time.' },
  'function.crashed': { status: 502, retryable: true, summary: 'The function ended without an answer.' },
  'function.failed': { status: 500, retryable: true, summary: 'The function threw an error.' },
  'function.timeout': { status: 504, retryable: true, summary: 'The function did not answer within its timeout.' },
  'function.unreachable': { status: 502, retryable: true, summary: 'The function could not be reached.' },
  'function.bad-response': {
    status: 502,
    retryable: true,
    summary: 'The function answered with something that is not a response.',
  },
  'invocation.cancelled': { status: 409, retryable: false, summary: 'The invocation was cancelled.' },
  'invocation.client-gone': { status: 499, retryable: false, summary: 'The caller went away before the answer.' },
  'invocation.unknown': { status: 404, retryable: false, summary: 'No invocation of that id is known.' },
  'invocation.gone': {
    status: 410,
    retryable: false,
    summary: 'The invocation expired, or its result has outlived its lifetime.',
  },
  'invocation.unfinished': { status: 409, retryable: true, summary: 'The invocation has no result yet.' },
  'invocation.finished': { status: 409, retryable: false, summary: 'The invocation has already finished.' },
  'invocation.loop': { status: 508, retryable: false, summary: 'The chain of invocations is deeper than the limit.' },
  'limit.body': { status: 413, retryable: false, summary: 'The body is larger than the limit.' },
  'limit.waiting': { status: 429, retryable: true, summary: 'The waiting room of the function is full.' },
  'limit.in-flight': { status: 503, retryable: true, summary: 'The gateway has too many calls in flight.' },
  'queue.full': { status: 429, retryable: true, summary: 'The queue has reached its limit; nothing was dropped.' },
  'queue.disk-full': {
    status: 507,
    retryable: true,
    summary: 'The disk of the queue has too little space left; it takes nothing new, and is being drained.',
  },
  'queue.unavailable': { status: 503, retryable: true, summary: 'The queue cannot take or give work now.' },
  'queue.unknown': { status: 404, retryable: false, summary: 'No queue of that name exists.' },
  'queue.locked': { status: 503, retryable: true, summary: 'Another process holds the file of the queue.' },
  'queue.format': {
    status: 503,
    retryable: false,
    summary: 'The file of the queue was written by a newer release, or is not a queue.',
  },
  'queue.damaged': {
    status: 503,
    retryable: false,
    summary: 'The file of the queue is not as it was written; the gateway does not start on it.',
  },
  'connector.unknown': { status: 404, retryable: false, summary: 'No connector of that name is running.' },
  'message.expired': { status: 410, retryable: false, summary: 'The message was older than the connector takes.' },
  'message.unmapped': {
    status: 422,
    retryable: false,
    summary: 'An expression of the connector failed on the message, or gave nothing.',
  },
  'dead-letter.unknown': { status: 404, retryable: false, summary: 'No dead letter of that id exists.' },
  'store.unavailable': { status: 503, retryable: true, summary: 'The store cannot be read or written now.' },
  'connection.unavailable': { status: 503, retryable: true, summary: 'The broker cannot be reached now.' },
  'provider.unavailable': {
    status: 503,
    retryable: true,
    summary:
      'What keeps the functions cannot be asked, or does not let the gateway do that; the message has its words.',
  },
  'callback.refused': { status: 400, retryable: false, summary: 'The callback URL points where callbacks may not go.' },
  'gateway.overloaded': { status: 503, retryable: true, summary: 'More calls come than the gateway itself can begin.' },
  'gateway.stopping': { status: 503, retryable: true, summary: 'The gateway is shutting down.' },
  'config.invalid': {
    status: 500,
    retryable: false,
    summary: 'The configuration is invalid; every problem is listed.',
  },
  'plugin.failed': { status: 503, retryable: false, summary: 'A plugin failed; /readyz names it.' },
  internal: { status: 500, retryable: true, summary: 'A bug in Millrace; the log has the stack.' },
} as const satisfies Record<string, { status: number; retryable: boolean; summary: string }>;

export type ErrorCode = keyof typeof errorCodes;

/** An error with a stable code. Its message is for people and never holds a secret. */
export class MillraceError extends Error {
  override readonly name = 'MillraceError';
  readonly code: ErrorCode;
  /** Seconds after which the caller may try again, where that is known. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; retryAfterSeconds?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  /** The HTTP status that answers this error. */
  get status(): number {
    return errorCodes[this.code].status;
  }
}

export function missingFunction(name: string): MillraceError {
  return new MillraceError('function.missing', `no function ${name} is deployed`);
}

export function missingNamespace(name: string): MillraceError {
  return new MillraceError('namespace.missing', `no namespace ${name} exists`);
}

/** What was thrown, as a message for people: plugins and functions may throw anything at all. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message;
  try {
    return String(thrown);
  } catch {
    return 'a value that cannot be shown was thrown';
  }
}
