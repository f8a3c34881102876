import type { Decoded } from './fake-decode.ts';
import { invalidValue, required, unsupported } from './fake-names.ts';
import { isObject, type Json, type JsonObject, timeNow, textOf, without } from './fake-objects.ts';
import { builtInResources, definitions, type Resource } from './fake-resources.ts';
import { schema } from './fake-schema.ts';
import { badRequest, type Cause } from './fake-status.ts';
import type { Change, Store } from './fake-store.ts';

/** What a structural schema may say, as far as it is looked at. */
interface Structure {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Structure>>;
  readonly additionalProperties?: Structure | boolean;
  readonly items?: Structure;
  readonly required?: readonly string[];
  readonly enum?: readonly Json[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: Json;
  readonly nullable?: boolean;
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
  readonly 'x-kubernetes-int-or-string'?: boolean;
}

interface DefinitionSpec {
  readonly group: string;
  readonly scope: 'Namespaced' | 'Cluster';
  readonly names: { readonly plural: string; readonly singular?: string; readonly kind: string };
  readonly versions: readonly {
    readonly name: string;
    readonly served: boolean;
    readonly storage: boolean;
    readonly schema?: { readonly openAPIV3Schema?: Structure };
    readonly subresources?: { readonly status?: JsonObject };
  }[];
}

/** The kinds that are served: the API server's own, and those that clients define while it runs. */
export class Definitions {
  readonly #store: Store;
  readonly #resources = new Map(builtInResources.map((resource) => [pathOf(resource), resource]));
  readonly #structures = new Map<Resource, Structure>();

  constructor(store: Store) {
    this.#store = store;
    store.onChange((change) => this.#changed(change));
  }

  /** By group, version and plural. */
  find(group: string, version: string, plural: string): Resource | undefined {
    return this.#resources.get(pathOf({ group, version, plural }));
  }

  all(): readonly Resource[] {
    return [...this.#resources.values()];
  }

  /** A body of a custom kind, without the fields that its schema has not. */
  decode(resource: Resource, body: JsonObject): Decoded {
    const unknown: string[] = [];
    if (body['kind'] === undefined || body['apiVersion'] === undefined) {
      const why = `Object 'Kind' is missing in '${JSON.stringify(body)}'`;
      throw badRequest(`the object provided is unrecognized (must be of type ${resource.kind}): ${why}`);
    }
    const { apiVersion = '', kind = '', metadata, ...rest } = body;
    const known = Object.entries((metadata ?? {}) as JsonObject).filter(([name]) => {
      if (Object.hasOwn(schema['meta.v1.ObjectMeta'] ?? {}, name)) return true;
      unknown.push(`metadata.${name}`);
      return false;
    });
    const structure = this.#structures.get(resource);
    const pruned = structure ? (prune(structure, rest, '', unknown) as JsonObject) : rest;
    return { object: { apiVersion, kind, metadata: Object.fromEntries(known), ...pruned }, unknown };
  }

  withDefaults(resource: Resource, object: JsonObject): JsonObject {
    const structure = this.#structures.get(resource);
    return structure ? (defaulted(structure, object) as JsonObject) : object;
  }

  /** What is wrong with an object of a custom kind. */
  check(resource: Resource, object: JsonObject): Cause[] {
    const structure = this.#structures.get(resource);
    if (!structure) return [];
    return causesOf(structure, without(object, 'apiVersion', 'kind', 'metadata'), '');
  }

  #changed({ resource, type, object, before }: Change): void {
    if (resource !== definitions) return;
    const spec = object.spec as unknown as DefinitionSpec;
    if (type === 'DELETED') this.#remove(spec);
    else {
      this.#install(spec);
      if (!before) this.#store.put(definitions, { ...object, status: statusOf(spec) });
    }
  }

  #install({ group, scope, names, versions }: DefinitionSpec): void {
    for (const { name: version, served, schema, subresources } of versions) {
      if (!served || this.find(group, version, names.plural)) continue;
      const resource: Resource = {
        group,
        version,
        plural: names.plural,
        singular: names.singular ?? names.kind.toLowerCase(),
        kind: names.kind,
        namespaced: scope === 'Namespaced',
        subresources: subresources?.status ? ['status'] : [],
        custom: true,
      };
      this.#resources.set(pathOf(resource), resource);
      if (schema?.openAPIV3Schema) this.#structures.set(resource, schema.openAPIV3Schema);
    }
  }

  #remove({ group, names, versions }: DefinitionSpec): void {
    for (const { name: version } of versions) {
      const resource = this.find(group, version, names.plural);
      if (!resource) continue;
      for (const { metadata } of this.#store.list(resource)) {
        this.#store.delete(resource, `${metadata.namespace ?? ''}/${metadata.name}`);
      }
      this.#resources.delete(pathOf(resource));
    }
  }
}

function pathOf({ group, version, plural }: Pick<Resource, 'group' | 'version' | 'plural'>): string {
  return `${group}/${version}/${plural}`;
}

function statusOf({ names, versions }: DefinitionSpec): JsonObject {
  const condition = (type: string, reason: string, message: string): JsonObject => {
    return { type, status: 'True', lastTransitionTime: timeNow(), reason, message };
  };
  return {
    conditions: [
      condition('NamesAccepted', 'NoConflicts', 'no conflicts found'),
      condition('Established', 'InitialNamesAccepted', 'the initial names have been accepted'),
    ],
    acceptedNames: { listKind: `${names.kind}List`, singular: names.kind.toLowerCase(), ...names },
    storedVersions: versions.filter(({ storage }) => storage).map(({ name }) => name),
  };
}

function prune(structure: Structure, value: Json, path: string, unknown: string[]): Json {
  if (Array.isArray(value)) {
    const { items = {} } = structure;
    return (value as readonly Json[]).map((item, index) => prune(items, item, `${path}[${index}]`, unknown));
  }
  if (!isObject(value) || structure['x-kubernetes-preserve-unknown-fields'] === true) return value;
  const { properties = {}, additionalProperties } = structure;
  if (additionalProperties !== undefined && additionalProperties !== false) {
    if (additionalProperties === true) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [
        name,
        prune(additionalProperties, item, `${path}.${name}`, unknown),
      ]),
    );
  }
  const kept: Record<string, Json> = {};
  for (const [name, item] of Object.entries(value)) {
    const at = path === '' ? name : `${path}.${name}`;
    const property = properties[name];
    if (property) kept[name] = prune(property, item, at, unknown);
    else unknown.push(at);
  }
  return kept;
}

function defaulted(structure: Structure, value: Json): Json {
  if (Array.isArray(value)) return (value as readonly Json[]).map((item) => defaulted(structure.items ?? {}, item));
  if (!isObject(value)) return value;
  const filled: Record<string, Json> = { ...value };
  for (const [name, property] of Object.entries(structure.properties ?? {})) {
    const item = filled[name] ?? (filled[name] === undefined ? property.default : undefined);
    if (item !== undefined) filled[name] = defaulted(property, item);
  }
  return filled;
}

function causesOf(structure: Structure, value: Json, path: string): Cause[] {
  const typed = typeCause(structure, value, path);
  if (typed) return [typed];
  const causes: Cause[] = [];
  const at = (name: string): string => (path === '' ? name : `${path}.${name}`);
  if (isObject(value)) {
    for (const name of structure.required ?? []) if (value[name] === undefined) causes.push(required(at(name)));
    for (const [name, item] of Object.entries(value)) {
      const { additionalProperties } = structure;
      const inner =
        structure.properties?.[name] ?? (typeof additionalProperties === 'object' ? additionalProperties : {});
      causes.push(...causesOf(inner, item, at(name)));
    }
  }
  if (Array.isArray(value)) {
    (value as readonly Json[]).forEach((item, index) => {
      causes.push(...causesOf(structure.items ?? {}, item, `${path}[${index}]`));
    });
  }
  if (structure.enum && !structure.enum.includes(value)) {
    causes.push(unsupported(path, textOf(value), structure.enum.map(String)));
  }
  if (typeof value === 'string' && structure.pattern !== undefined && !new RegExp(structure.pattern).test(value)) {
    causes.push(invalidValue(path, value, `${path} in body should match '${structure.pattern}'`));
  }
  if (typeof value === 'number' && structure.minimum !== undefined && value < structure.minimum) {
    const why = `${path} in body should be greater than or equal to ${structure.minimum}`;
    causes.push(invalidValue(path, value, why));
  }
  if (typeof value === 'number' && structure.maximum !== undefined && value > structure.maximum) {
    causes.push(invalidValue(path, value, `${path} in body should be less than or equal to ${structure.maximum}`));
  }
  return causes;
}

function typeCause(structure: Structure, value: Json, path: string): Cause | undefined {
  const { type, nullable } = structure;
  if (type === undefined || (value === null && nullable === true)) return undefined;
  if (structure['x-kubernetes-int-or-string'] === true) return undefined;
  const given = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
  const good =
    type === given ||
    (type === 'integer' && Number.isInteger(value)) ||
    (type === 'number' && typeof value === 'number');
  if (good) return undefined;
  const message = `Invalid value: "${given}": ${path} in body must be of type ${type}: "${given}"`;
  return { reason: 'FieldValueTypeInvalid', message, field: path };
}
