import { z } from 'zod';
import { unwrapped } from './issues.ts';

/** What every generated page begins with. */
export const notice = '<!-- Made from the code by `npm run generate`. Change the descriptions there. -->\n';

/** The settings of a schema, one a row, as Markdown. */
export function settingsTable(schema: z.ZodType): string {
  const rows = rowsOf(schema, '');
  if (rows.length === 0) return 'No settings.\n';
  return `| key | type | default | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`;
}

function rowsOf(schema: z.ZodType, prefix: string): string[] {
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodUnion) return (inner.options as z.ZodType[]).flatMap((option) => rowsOf(option, prefix));
  if (inner instanceof z.ZodRecord) return rowsOf(inner.valueType as z.ZodType, `${prefix}NAME.`);
  if (inner instanceof z.ZodArray) return rowsOf(inner.element as z.ZodType, `${prefix.slice(0, -1)}[].`);
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape as Record<string, z.ZodType>).flatMap(([key, field]) => [
    `| \`${prefix}${key}\` | ${cell(typeOf(field))} | ${defaultOf(field)} | ${cell(descriptionOf(field))} |`,
    ...rowsOf(field, `${prefix}${key}.`),
  ]);
}

/** What may stand there, in a word or two. */
function typeOf(schema: z.ZodType): string {
  if (isText(schema))
    return isOnly(schema, '1m30s', '1KiB') ? 'duration' : isOnly(schema, '1KiB', '1m30s') ? 'size' : 'text';
  const { type, anyOf, enum: words, const: word } = jsonOf(schema);
  if (word !== undefined) return `\`${String(word)}\``;
  if (words) return words.map((each) => `\`${String(each)}\``).join(', ');
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodUnion) {
    return [...new Set((inner.options as z.ZodType[]).map(typeOf))].join(' or ');
  }
  if (inner instanceof z.ZodArray) return `list of ${typeOf(inner.element as z.ZodType)}`;
  return type === 'object' ? 'map' : (type ?? (anyOf ? 'several' : 'any'));
}

function isText(schema: z.ZodType): boolean {
  const { type, enum: words, const: word } = jsonOf(schema);
  return type === 'string' && !words && word === undefined;
}

/** Of the forms that texts may have: whether it is the one of `good`. */
function isOnly(schema: z.ZodType, good: string, other: string): boolean {
  const takes = (text: string): boolean => schema.safeParse(text).success;
  return takes(good) && !takes(other) && !takes('x');
}

interface JsonType {
  readonly type?: string;
  readonly anyOf?: unknown;
  readonly enum?: readonly (string | number | boolean | null)[];
  readonly const?: string | number | boolean | null;
  readonly default?: unknown;
}

function jsonOf(schema: z.ZodType): JsonType {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonType;
}

function descriptionOf(schema: z.ZodType): string {
  if (schema.description !== undefined) return schema.description;
  const inner =
    schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault || schema instanceof z.ZodOptional
      ? schema.unwrap()
      : undefined;
  return inner ? descriptionOf(inner as z.ZodType) : '';
}

function defaultOf(schema: z.ZodType): string {
  if (!schema.safeParse(undefined).success) return 'required';
  const { default: standard } = jsonOf(schema);
  const trivial =
    standard === undefined || (typeof standard === 'object' && standard !== null && Object.keys(standard).length === 0);
  return trivial ? '' : cell(`\`${typeof standard === 'string' ? standard : JSON.stringify(standard)}\``);
}

/** Text for a cell of a table. */
export function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
