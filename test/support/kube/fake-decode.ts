import { isObject, type Json, type JsonObject, textOf } from './fake-objects.ts';
import { canonicalQuantity, quantityPattern } from './fake-quantity.ts';
import { apiVersionOf, type Resource } from './fake-resources.ts';
import { type Field, schema } from './fake-schema.ts';
import { badRequest } from './fake-status.ts';

/** A body as the API server reads it. */
export interface Decoded {
  readonly object: JsonObject;
  /** Paths of fields that its kind has not; dropped, or refused when the client asked for that. */
  readonly unknown: readonly string[];
}

/** Group and version of the schema's short names, where they are not the group's own first word. */
const groupsOfTypes: Readonly<Record<string, string>> = {
  '': 'core',
  'discovery.k8s.io': 'discovery',
  'rbac.authorization.k8s.io': 'rbac',
  'coordination.k8s.io': 'coordination',
};

export function typeOf({ group, version, kind }: Resource): string | undefined {
  const name = `${groupsOfTypes[group] ?? group}.${version}.${kind}`;
  return Object.hasOwn(schema, name) ? name : undefined;
}

/** Reads a body of that type as Go's decoder does: 400 for a value of the wrong type, empty values left out. */
export function decode(resource: Resource, body: JsonObject, type = typeOf(resource)): Decoded {
  checkKind(resource, body, type);
  const unknown: string[] = [];
  if (type === undefined) return { object: body, unknown };
  const object = decodeObject(type, body, '', { kind: resource.kind, version: resource.version, unknown });
  return { object, unknown };
}

interface Reading {
  readonly kind: string;
  readonly version: string;
  readonly unknown: string[];
}

function checkKind(resource: Resource, body: JsonObject, type: string | undefined): void {
  const expected = type === 'autoscaling.v1.Scale' ? { kind: 'Scale', apiVersion: 'autoscaling/v1' } : undefined;
  const kind = expected?.kind ?? resource.kind;
  const apiVersion = expected?.apiVersion ?? apiVersionOf(resource);
  const { kind: given = kind, apiVersion: version = apiVersion } = body;
  if (given === kind && version === apiVersion) return;
  throw badRequest(
    `${textOf(given)} in version "${textOf(version).split('/').at(-1)}" cannot be handled as a ${kind}: ` +
      `no kind "${textOf(given)}" is registered for version "${textOf(version)}" in scheme "pkg/runtime/scheme.go:111"`,
  );
}

function decodeObject(type: string, value: JsonObject, path: string, reading: Reading): JsonObject {
  const fields = schema[type] ?? {};
  const read: Record<string, Json> = {};
  for (const [name, item] of Object.entries(value)) {
    const at = path === '' ? name : `${path}.${name}`;
    const field = fields[name];
    if (!field) reading.unknown.push(at);
    else if (item !== null) read[name] = decodeField(field, item, at, `${type.split('.').at(-1)}.${at}`, reading);
  }
  for (const [name, field] of Object.entries(fields)) {
    if (field.type === 'string' && field.default !== undefined) read[name] ??= field.default;
  }
  return read;
}

function decodeField(field: Field, value: Json, path: string, goName: string, reading: Reading): Json {
  const wrong = (goType: string): Error => {
    const given = Array.isArray(value) ? 'array' : isObject(value) ? 'object' : typeof value;
    const what = given === 'boolean' ? 'bool' : given;
    return refused(reading, `json: cannot unmarshal ${what} into Go struct field ${goName} of type ${goType}`);
  };
  switch (field.type) {
    case 'any':
      return value;
    case 'string':
    case 'time':
      if (typeof value !== 'string') throw wrong('string');
      return value;
    case 'boolean':
      if (typeof value !== 'boolean') throw wrong('bool');
      return value;
    case 'integer':
      if (typeof value !== 'number' || !Number.isInteger(value)) throw wrong('int32');
      return value;
    case 'number':
      if (typeof value !== 'number') throw wrong('float64');
      return value;
    case 'int-or-string':
      if (typeof value !== 'string' && typeof value !== 'number') throw wrong('intstr.IntOrString');
      return value;
    case 'quantity':
      return quantity(value, reading);
    case 'bytes':
      return bytes(value, wrong, reading);
    case 'object':
      if (!isObject(value)) throw wrong(field.of);
      return decodeObject(field.of, value, path, reading);
    case 'map':
      if (!isObject(value)) throw wrong('map[string]string');
      return Object.fromEntries(
        Object.entries(value)
          .filter(([, item]) => item !== null)
          .map(([key, item]) => [key, decodeField(field.items, item, `${path}.${key}`, goName, reading)]),
      );
    case 'list':
      if (!Array.isArray(value)) throw wrong('[]string');
      return (value as readonly Json[]).map((item, index) =>
        decodeField(field.items, item, `${path}[${index}]`, goName, reading),
      );
  }
}

function quantity(value: Json, reading: Reading): string {
  const text = typeof value === 'number' ? String(value) : value;
  const canonical = typeof text === 'string' ? canonicalQuantity(text) : undefined;
  if (canonical === undefined)
    throw refused(reading, `quantities must match the regular expression '${quantityPattern}'`);
  return canonical;
}

function bytes(value: Json, wrong: (goType: string) => Error, reading: Reading): string {
  if (typeof value !== 'string') throw wrong('[]uint8');
  const good = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value);
  if (good) return value;
  const at = /[^A-Za-z0-9+/]/.exec(value)?.index ?? value.length - (value.length % 4);
  throw refused(reading, `illegal base64 data at input byte ${at}`);
}

function refused({ kind, version }: Reading, why: string): Error {
  return badRequest(`${kind} in version "${version}" cannot be handled as a ${kind}: ${why}`);
}
