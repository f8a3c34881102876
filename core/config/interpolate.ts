import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { messageOf } from '../contracts/errors.ts';

const maxFileBytes = 64 * 1024;
const reference = /\$\$\{|\$\{([^{}]*)\}/g;

export interface Interpolated {
  readonly text: string;
  /** Whether anything was put in: such a text is no secret literal of the file. */
  readonly changed: boolean;
  /** Whether the whole scalar was one reference, so that it takes the type that its value has unquoted. */
  readonly whole: boolean;
}

/**
 * Puts in `${VAR}` (required), `${VAR:default}`, `${VAR:?message}` and `${file:/path}` (its text without the trailing
 * newline); `$${` is a literal `${`. Works on one parsed scalar and once only: what was put in is never looked at
 * again, so no value can name another or change the structure of the file.
 *
 * @throws Error with a message for people, when a variable is missing or a file cannot be read.
 */
export function interpolate(
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
  folder: string,
): Interpolated {
  if (!text.includes('${')) return { text, changed: false, whole: false };
  let changed = false;
  const result = text.replaceAll(reference, (match, inner: string | undefined) => {
    if (inner === undefined) return '${';
    changed = true;
    return valueOf(inner, environment, folder, match);
  });
  return { text: result, changed, whole: changed && /^\$\{[^{}]*\}$/.test(text) };
}

function valueOf(
  inner: string,
  environment: Readonly<Record<string, string | undefined>>,
  folder: string,
  match: string,
): string {
  if (inner.startsWith('file:')) return fileText(resolve(folder, inner.slice('file:'.length)));
  const parts = /^([A-Za-z_][A-Za-z0-9_]*)(?::(\??)([\s\S]*))?$/.exec(inner);
  if (!parts)
    throw new Error(`${match} is no reference: expected \${VAR}, \${VAR:default}, \${VAR:?message} or \${file:/path}`);
  const [, name = '', required, rest] = parts;
  const value = environment[name];
  if (value !== undefined && value !== '') return value;
  if (required === '?') throw new Error(rest || `environment variable ${name} is not set`);
  if (rest !== undefined) return rest;
  if (value === '') return '';
  throw new Error(`environment variable ${name} is not set; set it, or write \${${name}:default}`);
}

function fileText(path: string): string {
  try {
    if (statSync(path).size > maxFileBytes) throw new Error(`it is larger than ${maxFileBytes} bytes`);
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    throw new Error(`file ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
