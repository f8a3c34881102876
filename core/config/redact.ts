import { z } from 'zod';
import { fieldOf, unwrapped } from './issues.ts';
import type { Config } from './schema.ts';

export interface SecretField {
  readonly path: readonly (string | number)[];
  readonly value: string;
}

function isSecret(schema: z.ZodType): boolean {
  return schema.meta()?.['secret'] === true;
}

/** Whether anything below may be secret, by schema: most have nothing, and thousands of functions share one. */
const secretive = new WeakMap<z.ZodType, boolean>();
/** Schemas that are made while they are looked at need not end; what is deeper counts as one that may. */
const deepestLook = 12;

function mayHoldSecrets(schema: z.ZodType, depth = 0): boolean {
  const known = secretive.get(schema);
  if (known !== undefined) return known;
  if (depth > deepestLook) return true;
  secretive.set(schema, true); // While it is looked at: a schema may hold itself.
  const inner = unwrapped(schema);
  const may = isSecret(schema) || isSecret(inner) || partsOf(inner).some((part) => mayHoldSecrets(part, depth + 1));
  secretive.set(schema, may);
  return may;
}

/** The schemas of what a value of this one may hold, or be. */
function partsOf(schema: z.ZodType): readonly z.ZodType[] {
  if (schema instanceof z.ZodUnion) return schema.options as z.ZodType[];
  if (schema instanceof z.ZodArray) return [schema.element as z.ZodType];
  if (schema instanceof z.ZodRecord) return [schema.valueType as z.ZodType];
  return schema instanceof z.ZodObject ? (Object.values(schema.shape) as z.ZodType[]) : [];
}

/** The fields of the data that the schema marks as secret. */
export function secretFields(
  schema: z.ZodType,
  value: unknown,
  path: readonly (string | number)[] = [],
): SecretField[] {
  if (value === undefined || value === null || !mayHoldSecrets(schema)) return [];
  if (isSecret(schema)) return typeof value === 'string' ? [{ path, value }] : [];
  const inner = unwrapped(schema);
  if (isSecret(inner)) return typeof value === 'string' ? [{ path, value }] : [];
  if (inner instanceof z.ZodUnion) {
    return (inner.options as z.ZodType[]).flatMap((option) => secretFields(option, value, path));
  }
  if (Array.isArray(value)) {
    if (!(inner instanceof z.ZodArray)) return [];
    return value.flatMap((item, index) => secretFields(inner.element as z.ZodType, item, [...path, index]));
  }
  if (typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, item]) => {
    if (inner instanceof z.ZodRecord) return secretFields(inner.valueType as z.ZodType, item, [...path, key]);
    const next = inner instanceof z.ZodObject ? fieldOf(inner, key) : undefined;
    return next ? secretFields(next, item, [...path, key]) : [];
  });
}

export function secretsOf(schema: z.ZodType, value: unknown): string[] {
  return secretFields(schema, value).map(({ value: secret }) => secret);
}

/** Every secret of the configuration, for the log to keep out. */
export function secretValues({ secrets }: Config): readonly string[] {
  return secrets;
}

/** Shorter ones would blank out half of every line, and are no secrets. */
const shortestSecret = 4;

/** How a secret may stand in somebody else's words: as it is, in JSON (a key in PEM has lines), in a URL, in base 64. */
export function formsOf(secret: string): readonly string[] {
  if (secret.length < shortestSecret) return [];
  const forms = [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    Buffer.from(secret).toString('base64'),
  ];
  return [...new Set(forms)];
}

/** What somebody else says, such as a client library, without what he may have been given. */
export function withoutSecrets(text: string, { secrets }: Pick<Config, 'secrets'>): string {
  return String(redacted(text, secrets.flatMap(formsOf)));
}

/** The data with `[redacted]` wherever a secret stands, also inside of other texts. */
export function redacted(value: unknown, secrets: readonly string[]): unknown {
  // The longest first: one that begins with another one would leave its end to be read.
  const hidden = secrets.filter((secret) => secret !== '').toSorted((a, b) => b.length - a.length);
  return walk(value);

  function walk(node: unknown): unknown {
    if (typeof node === 'string') return hidden.reduce((text, secret) => text.replaceAll(secret, '[redacted]'), node);
    if (Array.isArray(node)) return node.map(walk);
    if (node instanceof Map) return walk(Object.fromEntries(node));
    if (typeof node !== 'object' || node === null) return node;
    return Object.fromEntries(Object.entries(node).map(([key, item]) => [key, walk(item)]));
  }
}

/** The configuration for people: resolved, without secrets, and without the code of the plugins. */
export function shownConfig({ secrets, ...config }: Config): unknown {
  return redacted(
    Object.fromEntries(
      Object.entries(config).map(([key, part]) => [key, part instanceof Map ? withoutCode(part) : part]),
    ),
    secrets,
  );
}

function withoutCode(plugins: ReadonlyMap<string, object>): Record<string, object> {
  return Object.fromEntries(
    [...plugins].map(([name, plugin]) => {
      const { definition: _, ...rest } = plugin as { readonly definition?: unknown };
      return [name, rest];
    }),
  );
}
