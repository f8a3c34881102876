import { z } from 'zod';
import { messageOf } from '../contracts/errors.ts';
import type { Place, Problem } from './problem.ts';
import { didYouMean } from './suggest.ts';
import type { Path } from './tree.ts';

/** Where data came from, as far as its file tells. */
export interface Source {
  place(path: Path): Place | undefined;
  /** What stands there, as text, if it came from outside the file. */
  outside(path: Path): string | undefined;
}

export type Parsed<T> =
  | { readonly value: T; readonly problems: readonly [] }
  | { readonly value: undefined; readonly problems: Problem[] };

/**
 * Parses one part of a configuration; what is wrong is told with its place in the file. `at`: the path of the part
 * from the root. `more`: keys that the part may have beside those of the schema, for suggestions.
 */
export function parsePart<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  at: Path,
  source: Source,
  more: readonly string[] = [],
): Parsed<z.output<Schema>> {
  try {
    let result = schema.safeParse(value);
    if (!result.success && textAgain(value, result.error.issues, at, source)) result = schema.safeParse(value);
    if (result.success) return { value: result.data, problems: [] };
    const { issues } = result.error;
    return { value: undefined, problems: issues.flatMap((issue) => problemsOf(issue, schema, at, source, more)) };
  } catch (error) {
    // The schemas of plugins are code of strangers.
    return { value: undefined, problems: [problem(at, `its schema failed: ${messageOf(error)}`, source)] };
  }
}

/** `${PASSWORD}` may hold digits only: where a text is wanted, what came from outside is one. */
function textAgain(value: unknown, issues: readonly z.core.$ZodIssue[], at: Path, source: Source): boolean {
  let changed = false;
  for (const issue of issues.flatMap(flat)) {
    if (issue.code !== 'invalid_type' || issue.expected !== 'string') continue;
    const path = issue.path as (string | number)[];
    const text = source.outside([...at, ...path]);
    if (text === undefined) continue;
    const holder = path
      .slice(0, -1)
      .reduce<unknown>((node, key) => (node as Record<string | number, unknown> | undefined)?.[key], value);
    const last = path.at(-1);
    if (typeof holder !== 'object' || holder === null || last === undefined) continue;
    (holder as Record<string | number, unknown>)[last] = text;
    changed = true;
  }
  return changed;
}

/** The issues of a union are those of the alternative that fits best: the one that got furthest. */
function flat(issue: z.core.$ZodIssue): readonly z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [issue];
  const depth = (issues: readonly z.core.$ZodIssue[]): number => Math.max(...issues.map(({ path }) => path.length));
  const alternatives = issue.errors.map((errors) =>
    errors.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })),
  );
  const best = alternatives.toSorted((a, b) => depth(b) - depth(a) || weight(a) - weight(b))[0] ?? [];
  const deep = depth(best) > issue.path.length || best.some(({ code }) => code === 'unrecognized_keys');
  if (deep) return best.flatMap((inner) => flat(inner as z.core.$ZodIssue));
  return [
    {
      ...issue,
      message: alternatives.map(([first]) => expected(first?.message ?? '')).join(', or '),
    },
  ];
}

/** Of alternatives that got equally far, one that is about a key says more than one about the whole. */
function weight(issues: readonly z.core.$ZodIssue[]): number {
  return issues.some(({ code }) => code === 'unrecognized_keys') ? 0 : 1;
}

function problemsOf(
  outer: z.core.$ZodIssue,
  schema: z.ZodType,
  at: Path,
  source: Source,
  more: readonly string[],
): Problem[] {
  return flat(outer).flatMap((issue) => {
    const path = [...at, ...(issue.path as (string | number)[])];
    if (issue.code === 'unrecognized_keys') {
      const known = [...keysAt(schema, issue.path as Path), ...(issue.path.length === 0 ? more : [])];
      return issue.keys.map((key) => problem([...path, key], `unknown key${didYouMean(key, known)}`, source));
    }
    if (issue.code === 'invalid_key') {
      return [problem(path, issue.issues[0]?.message ?? 'this name is not allowed', source)];
    }
    return [problem(path, expected(issue.message), source)];
  });
}

/** A problem at the path, or at the nearest place above it that stands in the file. */
export function problem(path: Path, message: string, source: Source): Problem {
  let place: Place | undefined;
  for (let length = path.length; length >= 0 && !place; length--) place = source.place(path.slice(0, length));
  return { ...(place ?? { file: '', line: 1, column: 1 }), path: path.join('.'), message, severity: 'error' };
}

/** Zod's words in the tone of the others, and with YAML's names for things. */
function expected(message: string): string {
  if (!message.startsWith('Invalid input: ')) {
    return message.replace(/^Invalid option: /, '').replace(/^Too (big|small): /, '');
  }
  return message
    .slice('Invalid input: '.length)
    .replace(/^expected (\S+), received undefined$/, 'is required (expected $1)')
    .replace(', received ', ', got ')
    .replaceAll(/\b(object|record)\b/g, 'map')
    .replaceAll(/\barray\b/g, 'list')
    .replaceAll(/\bint\b/g, 'whole number');
}

/** The keys that the schema knows at the path, looking through defaults, unions and records. */
function keysAt(schema: z.ZodType, path: Path): readonly string[] {
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodUnion) return (inner.options as z.ZodType[]).flatMap((option) => keysAt(option, path));
  const [key, ...rest] = path;
  if (key === undefined) return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
  if (inner instanceof z.ZodObject) {
    const next = fieldOf(inner, String(key));
    return next ? keysAt(next, rest) : [];
  }
  if (inner instanceof z.ZodRecord) return keysAt(inner.valueType as z.ZodType, rest);
  if (inner instanceof z.ZodArray) return keysAt(inner.element as z.ZodType, rest);
  return [];
}

/** The schema of one key; what every object inherits is no key. */
export function fieldOf(schema: z.ZodObject, key: string): z.ZodType | undefined {
  return Object.hasOwn(schema.shape, key) ? (schema.shape[key] as z.ZodType) : undefined;
}

/** The schema without what says only when it applies. */
export function unwrapped(schema: z.ZodType): z.ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodReadonly
  ) {
    return unwrapped(schema.unwrap() as z.ZodType);
  }
  if (schema instanceof z.ZodPipe) return unwrapped(schema.in as z.ZodType);
  return schema;
}
