import { z } from 'zod';
import { unwrapped } from './issues.ts';
import type { Config } from './schema.ts';

export interface SecretField {
  readonly path: readonly (string | number)[];
  readonly value: string;
}

function isSecret(schema: z.ZodType): boolean {
  return schema.meta()?.['secret'] === true;
}

/** The fields of the data that the schema marks as secret. */
export function secretFields(
  schema: z.ZodType,
  value: unknown,
  path: readonly (string | number)[] = [],
): SecretField[] {
  if (value === undefined || value === null) return [];
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
    const next = inner instanceof z.ZodObject ? (inner.shape[key] as z.ZodType | undefined) : undefined;
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

/** The data with `[redacted]` wherever a secret stands, also inside of other texts. */
export function redacted(value: unknown, secrets: readonly string[]): unknown {
  if (typeof value === 'string') {
    return secrets.reduce((text, secret) => (secret === '' ? text : text.replaceAll(secret, '[redacted]')), value);
  }
  if (Array.isArray(value)) return value.map((item) => redacted(item, secrets));
  if (value instanceof Map) return redacted(Object.fromEntries(value), secrets);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redacted(item, secrets)]));
}
