import { resolve } from 'node:path';
import { messageOf } from '../contracts/errors.ts';
import { type OnRead, readText } from './bounded-file.ts';

const maxFileBytes = 64 * 1024;

export interface Interpolated {
  readonly text: string;
  /** Whether anything was put in: such a text is no secret literal of the file. */
  readonly changed: boolean;
  /** Whether the whole scalar was one reference, so that it takes the type that its value has unquoted. */
  readonly whole: boolean;
  /** What `${file:…}` put in: nobody keeps a setting in a file of its own unless it is one to hide. */
  readonly secrets: readonly string[];
}

/**
 * Puts in `${VAR}` (required), `${VAR:default}`, `${VAR:?message}` and `${file:/path}` (its text without the trailing
 * newline); `$${` is a literal `${`. A variable that is set but empty counts as not set where there is a default or a
 * message. Works on one parsed scalar and once only: what was put in is never looked at again, so no value can name
 * another or change the structure of the file.
 *
 * @throws Error with a message for people, when a variable is missing, a file cannot be read or a reference is malformed.
 */
export function interpolate(
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
  folder: string,
  onRead?: OnRead,
): Interpolated {
  const secrets: string[] = [];
  let result = '';
  let at = 0;
  let changed = false;
  let whole = false;
  for (let start = text.indexOf('${'); start >= 0; start = text.indexOf('${', at)) {
    if (start > at && text[start - 1] === '$') {
      result += `${text.slice(at, start - 1)}\${`;
      at = start + 2;
      continue;
    }
    const end = text.indexOf('}', start);
    if (end < 0) throw new Error('"${" without its "}"; a literal one is written "$${"');
    const inner = text.slice(start + 2, end);
    const value = inner.startsWith('file:')
      ? fileText(resolve(folder, inner.slice('file:'.length)), onRead)
      : variable(inner, environment);
    if (inner.startsWith('file:')) secrets.push(value);
    result += text.slice(at, start) + value;
    at = end + 1;
    changed = true;
    whole = start === 0 && at === text.length;
  }
  return { text: result + text.slice(at), changed, whole, secrets };
}

function variable(inner: string, environment: Readonly<Record<string, string | undefined>>): string {
  const parts = /^([A-Za-z_][A-Za-z0-9_]*)(?::(\??)([^{]*))?$/.exec(inner);
  if (!parts) {
    const forms = '${VAR}, ${VAR:default}, ${VAR:?message} or ${file:/path}';
    throw new Error(`\${${inner}} is no reference: expected ${forms}, without braces inside`);
  }
  const [, name = '', required, rest] = parts;
  // An environment may be an ordinary object: what every object inherits is not in it.
  const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
  if (value !== undefined && value !== '') return value;
  if (required === '?') throw new Error(rest || `environment variable ${name} is not set`);
  if (rest !== undefined) return rest;
  if (value === '') return '';
  throw new Error(`environment variable ${name} is not set; set it, or write \${${name}:default}`);
}

/**
 * What a small file says, without its trailing newline.
 *
 * @throws Error with a message for people that names the file.
 */
export function fileText(path: string, onRead: OnRead | undefined): string {
  try {
    return readText(path, maxFileBytes, onRead).replace(/\r?\n$/, '');
  } catch (error) {
    throw new Error(`file ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
