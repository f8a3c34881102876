import { Readable } from 'node:stream';
import type { Headers, Invocation } from '../../contracts/invocation.ts';
import { headerOf, hopByHop } from '../headers.ts';
import { passes } from './passing.ts';

/** Of one connection, of the framing of one body, about another host, or of one attempt: each hop says these for itself. */
export const withheld: ReadonlySet<string> = new Set([
  ...hopByHop,
  'content-length',
  'expect', // The connector's listener has told the caller to go on.
  'host',
  'http2-settings',
  'x-invocation-id',
  'x-retry',
]);

/** `..` as a segment of a path, however the separators and the dots are written. */
const upwards = /(?:^|[/\\]|%2f|%5c)(?:\.|%2e){2}(?:[/\\]|%2f|%5c|$)/i;

/**
 * The path and query to ask for: the call's path behind that of the URL, the query unchanged. Undefined for a call that
 * would leave the path of the URL: the operator named it, the caller the rest.
 */
export function targetOf(base: string, { path, query }: Pick<Invocation, 'path' | 'query'>): string | undefined {
  if (path === '') return base + query;
  const folder = base.endsWith('/') ? base.slice(0, -1) : base;
  if (folder !== '' && upwards.test(path)) return undefined;
  return folder + path + query;
}

/** The request's headers as names and values in turn. `own` stand in place of the caller's. */
export function requestHeaders(
  { headers, id, attempt }: Pick<Invocation, 'headers' | 'id' | 'attempt'>,
  own: Readonly<Record<string, string>>,
): string[] {
  const list: string[] = [];
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined || withheld.has(name) || own[name] !== undefined) continue;
    if (typeof value === 'string') list.push(name, value);
    else for (const each of value) list.push(name, each);
  }
  for (const name in own) list.push(name, own[name] ?? '');
  if (headers['user-agent'] === undefined && own['user-agent'] === undefined) list.push('user-agent', 'millrace');
  // The same for every attempt, so that the function can tell a repetition.
  list.push('x-invocation-id', id);
  if (attempt > 1) list.push('x-retry', String(attempt - 1));
  return list;
}

/** How many bytes a streamed body has, where its sender has told; undefined where only its end will tell. */
export function lengthOf(headers: Headers): number | undefined {
  const text = headerOf(headers, 'content-length');
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/**
 * A request's body on its way to the upstream, read no faster than the upstream takes it. Not the body itself: the
 * client destroys what it has sent, and with the stream of a request goes its connection, on which the answer is still
 * to be written. What nobody wants is read and thrown away.
 */
export class SentBody extends Readable {
  readonly #body: Readable;
  #begun = false;

  constructor(body: Readable) {
    super();
    this.#body = body;
    // A client that has given up listens no longer; a caller who goes just then must not end the process.
    this.on('error', () => undefined);
  }

  override _read(): void {
    if (this.#begun) {
      this.#body.resume();
      return;
    }
    this.#begun = true;
    const body = this.#body;
    body.on('data', (chunk: Uint8Array) => {
      passes(chunk);
      if (!this.destroyed && !this.push(chunk)) body.pause();
    });
    body.on('end', () => this.push(null));
    body.on('error', (error) => this.destroy(error));
    body.on('close', () => {
      if (!body.readableEnded) this.destroy(new Error('the body ended too early'));
    });
    if (body.destroyed && !body.readableEnded) this.destroy(body.errored ?? new Error('the body ended too early'));
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#begun) this.#body.resume();
    done(error);
  }
}
