/**
 * What a function's module may export, looked at in this order:
 *
 * 1. `export default { fetch(request, context) }`: web-standard;
 * 2. `export default async (event, context) => result`: the short form;
 * 3. `export function fetch(request, context)`: web-standard, by name.
 *
 * A module with none of them cannot be deployed. `import type { Handler } from 'millrace/worker'` types it.
 */
export interface FunctionModule {
  readonly default?: Handler | { readonly fetch: FetchHandler };
  readonly fetch?: FetchHandler;
}

/** The short form: what it returns, or its promise resolves with, is made into an answer by the rules of `FunctionResult`. */
export type Handler = (event: FunctionEvent, context: FunctionContext) => FunctionResult;

/** The web-standard form. `request.body` streams, whatever its size; `request.signal` is `context.signal`. */
export type FetchHandler = (request: Request, context: FunctionContext) => Response | Promise<Response>;

/** One request, as a handler of the short form gets it. The body is whole: at most `maxBody`. */
export interface FunctionEvent {
  /** Unique for the invocation; a retry has the same one. Use it to do a thing once. */
  readonly id: string;
  /** The caller's own id (`X-Call-Id`). */
  readonly callId: string;
  readonly method: string;
  /** What follows the function's name in the URL: empty, or beginning with `/`. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names are lower case; a header that came several times is a list. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** Empty when there is none. */
  readonly body: Uint8Array;
  /** The body as UTF-8 text. */
  text(): string;
  /** The body as JSON; undefined when it is empty. Throws a SyntaxError for anything else. */
  json(): unknown;
}

export interface FunctionContext {
  /** `name.namespace` */
  readonly function: string;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Wall clock, ms (compare it with `Date.now()`): nobody waits for the answer after it. */
  readonly deadline: number;
  /** Aborts at the deadline, when the caller has gone, or when the invocation is cancelled. */
  readonly signal: AbortSignal;
  /** Lines in the function's log, with the call they belong to. `console` does the same. */
  readonly log: FunctionLog;
  /** The environment that the function was deployed with; the same as `process.env`, and nothing of the gateway's. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface FunctionLog {
  debug(...values: readonly unknown[]): void;
  info(...values: readonly unknown[]): void;
  warn(...values: readonly unknown[]): void;
  error(...values: readonly unknown[]): void;
}

/**
 * What a handler of the short form may return:
 * - `undefined`, `null`: 204;
 * - a string: 200 text/plain;
 * - bytes (Uint8Array, Buffer, ArrayBuffer): 200 application/octet-stream;
 * - a Response: as it is;
 * - a ReadableStream or an async iterable of strings or bytes: 200, streamed as it comes;
 * - an object with a numeric `status`, with `headers` or `body` (any of the above), and no other key: just that;
 * - anything else: 200 application/json.
 *
 * What it throws is answered with 500 and `function.failed`; the thread lives on.
 */
export type FunctionResult = unknown;
