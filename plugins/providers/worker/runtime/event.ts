import type { FunctionEvent } from '../api.ts';

export interface EventSource {
  readonly id: string;
  readonly callId: string;
  readonly method: string;
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
}

const noBytes = new Uint8Array(0);
const decoder = new TextDecoder();

/**
 * What a handler of the short form gets. The query is parsed, and bytes that others need as well are copied, when they are
 * asked for.
 */
export class Event implements FunctionEvent {
  readonly id: string;
  readonly callId: string;
  readonly method: string;
  readonly path: string;
  readonly headers: FunctionEvent['headers'];
  readonly #search: string;
  #bytes: Uint8Array;
  #isShared: boolean;
  #query: URLSearchParams | undefined;

  /** `isShared`: the bytes are not for the function to change. */
  constructor(source: EventSource, body: Uint8Array | null, isShared = false) {
    this.id = source.id;
    this.callId = source.callId;
    this.method = source.method;
    this.path = source.path;
    this.headers = source.headers;
    this.#search = source.query;
    this.#bytes = body ?? noBytes;
    this.#isShared = isShared;
  }

  get body(): Uint8Array {
    if (this.#isShared) this.#bytes = new Uint8Array(this.#bytes);
    this.#isShared = false;
    return this.#bytes;
  }

  get query(): URLSearchParams {
    return (this.#query ??= new URLSearchParams(this.#search));
  }

  text(): string {
    return decoder.decode(this.#bytes);
  }

  json(): unknown {
    return this.#bytes.length === 0 ? undefined : JSON.parse(this.text());
  }

  /** So that a function that returns its event shows it whole. */
  toJSON(): object {
    const { id, callId, method, path, headers } = this;
    return { id, callId, method, path, query: Object.fromEntries(this.query), headers, body: this.text() };
  }
}

const withoutBody = new Set(['GET', 'HEAD']);

/** What a function of the web-standard form gets. */
export function requestOf(
  source: EventSource,
  body: Uint8Array | ReadableStream | null,
  signal: AbortSignal | null,
): Request {
  const headers = new Headers();
  for (const name in source.headers) {
    const value = source.headers[name];
    if (typeof value === 'string') headers.append(name, value);
    else for (const each of value ?? []) headers.append(name, each);
  }
  const init: RequestInit = { method: source.method, headers, signal };
  if (body && !withoutBody.has(source.method)) {
    init.body = body as Uint8Array<ArrayBuffer> | ReadableStream;
    init.duplex = 'half';
  }
  return new Request(urlOf(source), init);
}

function urlOf({ headers, path, query }: EventSource): string {
  const host = headers['host'];
  const base = `http://${typeof host === 'string' ? host : 'localhost'}`;
  const rest = `${path || '/'}${query}`;
  // The host is whatever the client sent: it must not keep the function from running.
  return URL.canParse(base) ? base + rest : `http://localhost${rest}`;
}
