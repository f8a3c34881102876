/** What came of a handler, whichever form it has. */
export interface Answer {
  readonly status: number;
  /** Names are lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Uint8Array | string | null | AsyncIterable<Uint8Array>;
}

/** The function returned what cannot be an answer. */
export class BadResponse extends Error {}

const text = { 'content-type': 'text/plain; charset=utf-8' };
const octets = { 'content-type': 'application/octet-stream' };
const json = { 'content-type': 'application/json' };
const none = {};

/** Makes an answer of what a function returned, by the rules of `FunctionResult`. */
export function answerOf(result: unknown): Answer {
  if (typeof result === 'string') return { status: 200, headers: text, body: result };
  if (result === undefined || result === null) return { status: 204, headers: none, body: null };
  if (typeof result !== 'object') return { status: 200, headers: json, body: jsonOf(result) };
  if (isShaped(result)) {
    const { type, body } = bodyOf(result.body);
    return { status: statusOf(result.status), headers: headersOf(result.headers, type), body };
  }
  if (isResponse(result)) return responseOf(result);
  const { type, body } = bodyOf(result);
  return { status: 200, headers: type, body };
}

/** For the web-standard form: nothing but a Response will do. */
export function answerOfResponse(result: unknown): Answer {
  if (typeof result === 'object' && result !== null && isResponse(result)) return responseOf(result);
  throw new BadResponse('fetch() returned something that is not a Response');
}

function bodyOf(value: unknown): { readonly type: Record<string, string>; readonly body: Answer['body'] } {
  if (typeof value === 'string') return { type: text, body: value };
  if (value === undefined || value === null) return { type: none, body: null };
  if (typeof value === 'object') {
    if (value instanceof Uint8Array) return { type: octets, body: value };
    if (ArrayBuffer.isView(value)) {
      return { type: octets, body: new Uint8Array(value.buffer, value.byteOffset, value.byteLength) };
    }
    if (value instanceof ArrayBuffer) return { type: octets, body: new Uint8Array(value) };
    if (Symbol.asyncIterator in value) return { type: octets, body: chunksOf(value as AsyncIterable<unknown>) };
  }
  return { type: json, body: jsonOf(value) };
}

function jsonOf(value: unknown): string {
  const encoded: unknown = JSON.stringify(value);
  if (typeof encoded !== 'string') throw new BadResponse(`a ${typeof value} is not an answer`);
  return encoded;
}

interface Shaped {
  readonly status: number;
  readonly headers?: unknown;
  readonly body?: unknown;
}

/** `{status, headers?, body?}` and no other key: an object that merely has a `status` is JSON. */
function isShaped(value: object): value is Shaped {
  if (!('status' in value) || typeof value.status !== 'number') return false;
  if (!('body' in value) && !('headers' in value)) return false;
  for (const key of Object.keys(value)) if (key !== 'status' && key !== 'headers' && key !== 'body') return false;
  return Object.hasOwn(value, 'status');
}

/** By its looks: `instanceof Response` would load all of fetch into each thread (20 ms), and miss other libraries' own. */
function isResponse(value: object): value is Response {
  return 'arrayBuffer' in value && 'headers' in value && 'status' in value && typeof value.status === 'number';
}

function responseOf(response: Response): Answer {
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of response.headers) {
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else headers[name] = Array.isArray(before) ? [...before, value] : [before, value];
  }
  return {
    status: statusOf(response.status),
    headers,
    body: response.body ? chunksOf(response.body as AsyncIterable<unknown>) : null,
  };
}

function statusOf(status: number): number {
  if (Number.isInteger(status) && status >= 200 && status <= 599) return status;
  throw new BadResponse(`${status} is not a status between 200 and 599`);
}

const headerName = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const headerValue = /^[\t\x20-\x7e\x80-\xff]*$/;

function headersOf(given: unknown, type: Record<string, string>): Answer['headers'] {
  if (given === undefined || given === null) return type;
  const headers: Record<string, string | string[]> = { ...type };
  if (isPlain(given)) return Object.assign(headers, given);
  const own = new Set<string>();
  const add = (key: string, value: unknown): void => {
    const name = key.toLowerCase();
    if (value === undefined || value === null) return;
    const values = (Array.isArray(value) ? (value as unknown[]) : [value]).map((each) => String(each));
    if (!headerName.test(name) || name === '__proto__') throw new BadResponse(`"${key}" is not a name of a header`);
    if (!values.every((each) => headerValue.test(each))) {
      throw new BadResponse(`the header "${key}" has characters that headers may not have`);
    }
    const before = own.has(name) ? [headers[name] ?? []].flat() : [];
    own.add(name);
    const all = [...before, ...values];
    headers[name] = all.length === 1 ? (all[0] ?? '') : all;
  };
  if (typeof given === 'object' && Symbol.iterator in given) {
    for (const [key, value] of given as Iterable<readonly [string, unknown]>) add(key, value);
  } else {
    for (const [key, value] of Object.entries(given)) add(key, value);
  }
  return headers;
}

/** What nearly every function returns: an object of good lower-case names, each with one good text. */
function isPlain(given: unknown): given is Record<string, string> {
  if (typeof given !== 'object' || given === null || Symbol.iterator in given) return false;
  for (const name in given) {
    const value = (given as Record<string, unknown>)[name];
    if (!Object.hasOwn(given, name) || typeof value !== 'string' || !headerValue.test(value)) return false;
    if (!headerName.test(name) || name === '__proto__') return false;
  }
  return true;
}

const encoder = new TextEncoder();

/**
 * The chunks of a stream as bytes. Not an async generator: its `return` would wait for the chunk that is asked for,
 * which of a stream that nobody reads any more may never come.
 */
function chunksOf(source: AsyncIterable<unknown>): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      const reader = readerOf(source);
      return {
        async next() {
          const { done, value } = await reader.next();
          if (done) return { done, value: undefined };
          if (value instanceof Uint8Array) return { done: false, value };
          if (typeof value === 'string') return { done: false, value: encoder.encode(value) };
          if (value instanceof ArrayBuffer) return { done: false, value: new Uint8Array(value) };
          await reader.return();
          throw new BadResponse(`a stream may have strings and bytes, not ${typeof value}`);
        },
        async return() {
          await reader.return();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

interface Chunks {
  next(): Promise<{ readonly done?: boolean | undefined; readonly value?: unknown }>;
  return(): Promise<unknown>;
}

function readerOf(source: AsyncIterable<unknown>): Chunks {
  if ('getReader' in source && typeof source.getReader === 'function') {
    const reader = (source as unknown as ReadableStream).getReader();
    return { next: () => reader.read(), return: () => reader.cancel() };
  }
  const iterator = source[Symbol.asyncIterator]();
  return { next: () => iterator.next(), return: async () => iterator.return?.() };
}
