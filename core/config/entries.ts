/** The entries that are maps themselves; the schema tells about the others. */
export function mapEntries(value: unknown): [string, Record<string, unknown>][] {
  if (!isMap(value)) return [];
  return Object.entries(value).filter((entry): entry is [string, Record<string, unknown>] => isMap(entry[1]));
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function namesOf(value: unknown): readonly string[] {
  return isMap(value) ? Object.keys(value) : [];
}

export function without(record: Readonly<Record<string, unknown>>, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}

/** Makes plain data unchangeable all the way down. What has a class of its own is left alone. */
export function frozen<T>(value: T): T {
  if (Array.isArray(value)) value.forEach(frozen);
  else if (isPlain(value)) Object.values(value).forEach(frozen);
  else return value;
  return Object.freeze(value);
}

function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
