import { MillraceError } from '../contracts/errors.ts';
import type { Headers } from '../contracts/invocation.ts';

/** About one connection only (RFC 9110 §7.6.1): never passed on, in either direction. */
export const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** The headers that `Connection` says are for this hop only, in lower case; undefined where it names none. */
export function nominated(connection: string | undefined): readonly string[] | undefined {
  if (connection === undefined || connection.toLowerCase() === 'keep-alive') return undefined;
  return connection.split(',').map((name) => name.trim().toLowerCase());
}

/** What a header may be called (RFC 9110 §5.6.2). */
export const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** One header's text; of one that came several times, the first. */
export function headerOf(headers: Headers, name: string): string | undefined {
  return firstOf(headers[name]);
}

/** The same of `headers['name']`: V8 finds what stands in the source quicker than what is asked for by a variable. */
export function firstOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value[0];
}

/** What carries a trace on (https://www.w3.org/TR/trace-context/), if there is one. */
export function traceContextOf({ traceparent, tracestate }: Headers): Headers {
  if (traceparent === undefined) return none;
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate };
}

const none: Headers = {};

/** Without what belongs to the connection or to the framing of one body. */
export function endToEnd(headers: Headers): Headers {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !hopByHop.has(name) && name !== 'content-length'),
  );
}

/** What `Prefer: respond-async[, wait=N]` (RFC 7240) asks for; `waitMs` is 0 without a wait. */
export function preferOf(headers: Headers): { readonly waitMs: number } | undefined {
  const prefer = firstOf(headers['prefer']);
  if (prefer === undefined) return undefined;
  const preferences = prefer.split(',').map((preference) => preference.trim().toLowerCase());
  if (!preferences.includes('respond-async')) return undefined;
  const wait = preferences.find((preference) => preference.startsWith('wait='));
  if (wait === undefined) return { waitMs: 0 };
  const seconds = Number(wait.slice('wait='.length));
  if (!Number.isInteger(seconds) || seconds < 0) throw invalidHeader('Prefer', 'wait=SECONDS', wait);
  return { waitMs: Math.min(seconds, 300) * 1000 };
}

export function invalidHeader(header: string, expected: string, got: string): MillraceError {
  const shown = JSON.stringify(got.slice(0, 80));
  return new MillraceError('request.invalid', `header ${header}: expected ${expected}, got ${shown}`);
}
