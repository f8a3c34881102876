import { Readable } from 'node:stream';
import type { Body, Invocation } from '../../../core/contracts/invocation.ts';
import { functionEnv } from '../../../core/kit/environment.ts';
import { headerOf } from '../../../core/kit/headers.ts';

const passedOn = ['PATH', 'HOME', 'LANG', 'TZ'];

/** What every process of a function sees, but for what is told of a request. */
export function processEnv(own: Readonly<Record<string, string>>): Record<string, string> {
  return functionEnv(passedOn, own);
}

/** Names of the watchdog's own: no header of that name stands in for them, not even where they are not set. */
const ownNames: ReadonlySet<string> = new Set([
  'method',
  'query',
  'path',
  'host',
  'contentlength',
  'content-length',
  'transfer-encoding',
]);

/**
 * A request as the variables of a process (`Http_Method`, `Http_Query`, `Http_X_Call_Id`, …), as classic-watchdog names
 * them. Of a header that came several times, the first. Headers whose names hold anything but letters, digits and `-`
 * are left out: in a variable, `x_user` would pass for `x-user`.
 */
export function requestVariables({ headers, method, path, query, body }: Invocation): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const name in headers) {
    const value = headerOf(headers, name);
    if (value === undefined || value.includes('\0') || ownNames.has(name) || !/^[a-z0-9-]+$/.test(name)) continue;
    variables[`Http_${canonical(name)}`] = value;
  }
  const length = lengthOf(body, headerOf(headers, 'content-length'));
  variables['Http_Method'] = method;
  variables['Http_Path'] = decoded(path === '' ? '/' : path);
  if (query.length > 1) variables['Http_Query'] = query.slice(1).replaceAll('\0', '');
  const host = headerOf(headers, 'host');
  if (host !== undefined && !host.includes('\0')) variables['Http_Host'] = host;
  variables['Http_ContentLength'] = variables['Http_Content_Length'] = String(length);
  if (length < 0) variables['Http_Transfer_Encoding'] = 'chunked';
  return variables;
}

/** `x-call-id` → `X_Call_Id`. */
function canonical(name: string): string {
  return name.replaceAll(/(^|-)([a-z0-9]?)/g, (_part, dash: string, first: string) => {
    return (dash === '' ? '' : '_') + first.toUpperCase();
  });
}

/** Bytes; -1 where nobody knows yet. */
function lengthOf(body: Body, declared: string | undefined): number {
  if (!(body instanceof Readable)) return body?.byteLength ?? 0;
  return declared !== undefined && /^\d+$/.test(declared) ? Number(declared) : -1;
}

/** As Go's URL.Path has it. What is no percent-encoded text, or could not stand in a variable, stays as it came. */
function decoded(path: string): string {
  try {
    const text = decodeURIComponent(path);
    return text.includes('\0') ? path : text;
  } catch {
    return path;
  }
}
