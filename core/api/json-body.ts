import type { IncomingMessage } from 'node:http';
import { MIMEType } from 'node:util';
import { MillraceError } from '../contracts/errors.ts';
import { hasBody, readAll } from '../kit/body.ts';

/** Nothing that the API takes is deeper than a few levels. */
const maxDepth = 64;
/** Nor has it so many names: each costs a look-up, and who chooses them could make those slow (CVE-2025-27209). */
const maxNames = 10_000;

/**
 * What the body of a request says; undefined when it has none. Refuses any media type but `application/json`, depth before
 * parsing, since code that walks a value by recursion ends with the stack, and names that would reach into a prototype.
 *
 * @throws MillraceError `request.media-type`, `limit.body`, `request.invalid`; Error when the caller has broken off.
 */
export async function readJson(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  const { 'content-type': type, 'content-length': length } = request.headers;
  if (type === undefined && !hasBody(request)) return undefined;
  if (!isJson(type)) throw new MillraceError('request.media-type', 'send the body as application/json');
  if (Number(length) > maxBytes) throw tooLarge();
  return parsed(await readAll(request, maxBytes, tooLarge));
}

/** The media type itself, not what begins or ends like it (CVE-2025-32442); its parameters change nothing. */
function isJson(type: string | undefined): boolean {
  if (type === undefined || type === 'application/json') return type !== undefined;
  try {
    return new MIMEType(type).essence === 'application/json';
  } catch {
    return false; // It is none: refused like any other.
  }
}

function parsed(body: Uint8Array): unknown {
  if (body.length === 0) return undefined;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    throw invalid('the body is not UTF-8');
  }
  const excess = excessOf(text);
  if (excess !== undefined) throw invalid(excess);
  let value: unknown;
  let isSafe = true;
  try {
    value = JSON.parse(text, (key, inner: unknown) => {
      if (key === '__proto__' || (key === 'constructor' && hasPrototype(inner))) isSafe = false;
      return inner;
    });
  } catch {
    isSafe = false; // The parser's own words quote the body, which may hold anything.
  }
  if (!isSafe) throw invalid('the body is not valid JSON, or holds "__proto__" or "constructor.prototype"');
  return value;
}

function hasPrototype(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'prototype');
}

/** What the text has too much of, in words. */
function excessOf(text: string): string | undefined {
  let depth = 0;
  let names = 0;
  let inString = false;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (inString) {
      if (character === '\\') index++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{' || character === '[') {
      if (++depth > maxDepth) return `the body is nested deeper than ${maxDepth} levels`;
    } else if (character === '}' || character === ']') depth--;
    else if (character === ':' && ++names > maxNames) return `the body has more than ${maxNames} names`;
  }
  return undefined;
}

function invalid(message: string): MillraceError {
  return new MillraceError('request.invalid', message);
}

function tooLarge(): MillraceError {
  return new MillraceError('limit.body', 'the body is larger than this route takes');
}
