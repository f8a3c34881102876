import { randomUUID } from 'node:crypto';
import { type Decoded, decode, typeOf } from './fake-decode.ts';
import { withDefaults } from './fake-defaults.ts';
import type { Definitions } from './fake-definitions.ts';
import {
  isObject,
  type Json,
  type JsonObject,
  keyOf,
  type KubeObject,
  nameSuffix,
  sameJson,
  timeNow,
  textOf,
  without,
} from './fake-objects.ts';
import { jsonPatch, mergePatch, strategicMergePatch } from './fake-patch.ts';
import { apiVersionOf, deployments, namespaces, type Resource, services } from './fake-resources.ts';
import { asScale, scaleType, withScale } from './fake-scale.ts';
import { alreadyExists, ApiError, badRequest, conflict, forbidden, invalid, notFound } from './fake-status.ts';
import type { Store } from './fake-store.ts';
import { validate } from './fake-validation.ts';

/** How an object is to be written. */
export interface WriteOptions {
  readonly dryRun: boolean;
  readonly manager: string;
  /** Fields that the kind has not: refused, told in a header, or dropped without a word. */
  readonly fieldValidation: 'Strict' | 'Warn' | 'Ignore';
}

export interface Written {
  readonly object: KubeObject;
  readonly created: boolean;
  readonly warnings: readonly string[];
}

export interface Target {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly name: string;
  readonly subresource: string | undefined;
}

/** Objects whose `generation` counts the changes of what was asked for. */
function hasGeneration({ custom, kind }: Resource): boolean {
  return custom || ['Deployment', 'ReplicaSet', 'Pod', 'EndpointSlice', 'CustomResourceDefinition'].includes(kind);
}

/** Creates, updates and patches objects as the API server does: read, fill in, check, compare, keep. */
export class Writes {
  readonly #store: Store;
  readonly #definitions: Definitions;
  #nextAddress = 1;

  constructor(store: Store, known: Definitions) {
    this.#store = store;
    this.#definitions = known;
  }

  create({ resource, namespace }: Target, body: JsonObject, options: WriteOptions): Written {
    const decoded = this.#decode(resource, body, options);
    const metadata = { ...(decoded.object['metadata'] as JsonObject | undefined) };
    if (metadata['namespace'] !== undefined && metadata['namespace'] !== namespace && namespace !== undefined) {
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
    }
    if (metadata['resourceVersion'] !== undefined && metadata['resourceVersion'] !== '') {
      throw new ApiError(500, '', 'resourceVersion should not be set on objects to be created');
    }
    const generated = metadata['name'] === undefined && typeof metadata['generateName'] === 'string';
    const name = generated ? `${textOf(metadata['generateName'])}${nameSuffix()}` : textOf(metadata['name']);
    this.#mustBeAlive(resource, namespace, name);
    const draft: JsonObject = {
      ...decoded.object,
      apiVersion: apiVersionOf(resource),
      kind: resource.kind,
      metadata: {
        ...metadata,
        name,
        ...(namespace !== undefined && { namespace }),
        ...(resource === namespaces && {
          labels: { ...(metadata['labels'] as JsonObject), 'kubernetes.io/metadata.name': name },
        }),
        uid: randomUUID(),
        creationTimestamp: timeNow(),
        ...(hasGeneration(resource) && { generation: 1 }),
      },
      ...(resource.subresources.includes('status') && { status: {} }),
    };
    if (resource.custom) delete (draft as Record<string, Json>)['status'];
    const filled = this.#fill(resource, draft, undefined);
    const causes = [...validate(resource, filled, undefined), ...this.#definitions.check(resource, filled)];
    if (causes.length > 0) throw invalid(resource, name, causes);
    const object = managedBy(filled as unknown as KubeObject, options.manager);
    if (this.#store.get(resource, keyOf(object.metadata))) throw alreadyExists(resource, name);
    return { ...this.#keep(resource, object, options, decoded), created: true };
  }

  update(target: Target, body: JsonObject, options: WriteOptions): Written {
    const { resource, name } = target;
    if (target.subresource === 'scale') return this.#scale(target, body, options);
    const decoded = this.#decode(resource, body, options);
    const metadata = (decoded.object['metadata'] ?? {}) as JsonObject;
    const given = metadata['name'];
    if (given !== undefined && given !== name) {
      throw badRequest(`the name of the object (${textOf(given)}) does not match the name on the URL (${name})`);
    }
    if (metadata['namespace'] !== undefined && metadata['namespace'] !== target.namespace) {
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
    }
    const before = this.#get(target);
    if (resource.custom && metadata['resourceVersion'] === undefined) {
      const message = 'Invalid value: 0: must be specified for an update';
      const named = { group: resource.group, kind: resource.plural };
      throw invalid(named, name, [{ reason: 'FieldValueInvalid', message, field: 'metadata.resourceVersion' }]);
    }
    return this.#replace(target, before, decoded, options);
  }

  patch(target: Target, patch: Json, contentType: string, options: WriteOptions): Written {
    const { resource, name } = target;
    const before = this.#get(target);
    const current = target.subresource === 'scale' ? asScale(before) : (before as unknown as JsonObject);
    const patched = this.#patched(target, current, patch, contentType);
    if ((patched['metadata'] as JsonObject | undefined)?.['name'] !== name) {
      throw badRequest(`the name of the object does not match the name on the URL (${name})`);
    }
    if (target.subresource === 'scale') return this.#scale(target, patched, options);
    return this.#replace(target, before, this.#decode(resource, patched, options), options);
  }

  #patched({ resource, subresource }: Target, current: JsonObject, patch: Json, contentType: string): JsonObject {
    switch (contentType) {
      case 'application/merge-patch+json':
        return mergePatch(current, patch) as JsonObject;
      case 'application/json-patch+json':
        return jsonPatch(current, patch);
      case 'application/strategic-merge-patch+json': {
        const type = subresource === 'scale' ? scaleType : typeOf(resource);
        if (type !== undefined && isObject(patch)) return strategicMergePatch(type, current, patch);
      }
    }
    throw new ApiError(415, 'UnsupportedMediaType', '415: Unsupported Media Type', {});
  }

  #get({ resource, namespace, name }: Target): KubeObject {
    const found = this.#store.get(resource, keyOf({ name, ...(namespace !== undefined && { namespace }) }));
    if (!found) throw notFound(resource, name);
    return found;
  }

  #scale(target: Target, body: JsonObject, options: WriteOptions): Written {
    const before = this.#get(target);
    const { object: scale } = decode(target.resource, body, scaleType);
    const next = withScale(target.resource, before, scale);
    const written = this.#replace(target, before, { object: next as unknown as JsonObject, unknown: [] }, options);
    return { ...written, object: asScale(written.object) as unknown as KubeObject };
  }

  #replace(target: Target, before: KubeObject, decoded: Decoded, options: WriteOptions): Written {
    const { resource, name, subresource } = target;
    const metadata = (decoded.object['metadata'] ?? {}) as JsonObject;
    const { resourceVersion: asked, uid } = metadata;
    if (typeof uid === 'string' && uid !== before.metadata.uid) {
      throw conflict(
        resource,
        name,
        `StorageError: invalid object, Code: 4, Key: /registry/${resource.plural}/${keyOf(before.metadata)}, ResourceVersion: 0, ` +
          `AdditionalErrorMsg: Precondition failed: UID in precondition: ${uid}, UID in object meta: ${before.metadata.uid}`,
      );
    }
    if (typeof asked === 'string' && asked !== '' && asked !== '0' && asked !== before.metadata.resourceVersion) {
      throw conflict(resource, name);
    }
    const whole = before as unknown as JsonObject;
    const draft =
      subresource === 'status' ? statusOnly(whole, decoded.object) : exceptStatus(resource, whole, decoded.object);
    const filled = this.#fill(resource, draft, whole);
    const causes = [...validate(resource, filled, whole), ...this.#definitions.check(resource, filled)];
    if (causes.length > 0) throw invalid(resource, name, causes);
    const bumped = withGeneration(resource, before, filled as unknown as KubeObject);
    if (sameObject(before, bumped)) return { object: before, created: false, warnings: warningsOf(decoded, options) };
    const object = managedBy(bumped, options.manager);
    return { ...this.#keep(resource, object, options, decoded), created: false };
  }

  #decode(resource: Resource, body: JsonObject, { fieldValidation }: WriteOptions): Decoded {
    const decoded = resource.custom ? this.#definitions.decode(resource, body) : decode(resource, body);
    if (decoded.unknown.length > 0 && fieldValidation === 'Strict') {
      const list = decoded.unknown.map((path) => `unknown field "${path}"`).join(', ');
      const { kind, version } = resource;
      throw badRequest(
        `${kind} in version "${version}" cannot be handled as a ${kind}: strict decoding error: ${list}`,
      );
    }
    return decoded;
  }

  /** A namespace that is not there, or is on its way out, takes nothing new. */
  #mustBeAlive(resource: Resource, namespace: string | undefined, name: string): void {
    if (namespace === undefined) return;
    const found = this.#store.get(namespaces, `/${namespace}`);
    if (!found) throw notFound(namespaces, namespace);
    if (found.metadata.deletionTimestamp === undefined) return;
    const message = `namespace ${namespace} is being terminated`;
    const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
    throw forbidden(resource, name, why, [{ reason: 'NamespaceTerminating', message, field: 'metadata.namespace' }]);
  }

  #fill(resource: Resource, draft: JsonObject, before: JsonObject | undefined): JsonObject {
    if (resource.custom) return this.#definitions.withDefaults(resource, draft);
    const filled = withDefaults(resource, draft);
    return resource === services ? this.#withAddress(filled, before) : filled;
  }

  /** The address of a service is given by the cluster, and stays when an update leaves it out. */
  #withAddress(service: JsonObject, before: JsonObject | undefined): JsonObject {
    const spec = service['spec'] as JsonObject;
    if (spec['type'] === 'ExternalName' || spec['clusterIP'] === 'None') return service;
    const given = spec['clusterIP'];
    const old = (before?.['spec'] as JsonObject | undefined)?.['clusterIP'];
    const free = `10.96.${(this.#nextAddress >> 8) & 255}.${this.#nextAddress & 255}`;
    if (given === undefined && old === undefined) this.#nextAddress++;
    const clusterIP = given ?? old ?? free;
    return { ...service, spec: { ...spec, clusterIP, clusterIPs: [clusterIP] }, status: { loadBalancer: {} } };
  }

  #keep(resource: Resource, object: KubeObject, options: WriteOptions, decoded: Decoded): Omit<Written, 'created'> {
    const warnings = warningsOf(decoded, options);
    if (options.dryRun) {
      const version = this.#store.get(resource, keyOf(object.metadata))?.metadata.resourceVersion;
      const metadata: Record<string, unknown> = { ...object.metadata, resourceVersion: version };
      return { object: { ...object, metadata: metadata as unknown as KubeObject['metadata'] }, warnings };
    }
    return { object: this.#store.put(resource, object), warnings };
  }
}

function warningsOf({ unknown }: Decoded, { fieldValidation }: WriteOptions): string[] {
  return fieldValidation === 'Warn' ? unknown.map((path) => `unknown field "${path}"`) : [];
}

/** Written through `/status`: only that, and what the metadata has, may change. */
function statusOnly(before: JsonObject, given: JsonObject): JsonObject {
  return { ...before, ...('status' in given && { status: given['status'] }) };
}

/** Written without `/status`: the status stays, and what the API server keeps in the metadata. */
function exceptStatus(resource: Resource, before: JsonObject, given: JsonObject): JsonObject {
  const kept = before['metadata'] as JsonObject;
  const metadata: Record<string, Json> = { ...(given['metadata'] as JsonObject | undefined) };
  const own = [
    'name',
    'namespace',
    'uid',
    'creationTimestamp',
    'generation',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'resourceVersion',
  ];
  for (const name of own) {
    if (kept[name] === undefined) delete metadata[name];
    else metadata[name] = kept[name];
  }
  metadata['managedFields'] ??= kept['managedFields'] ?? [];
  const labels = metadata['labels'] as JsonObject | undefined;
  if (resource === namespaces) metadata['labels'] = { ...labels, 'kubernetes.io/metadata.name': kept['name'] ?? '' };
  const { apiVersion = '', kind = '' } = before;
  const draft: Record<string, Json> = { ...given, apiVersion, kind, metadata };
  if (!resource.subresources.includes('status')) return draft;
  delete draft['status'];
  return before['status'] === undefined ? draft : { ...draft, status: before['status'] };
}

/** Of a Deployment changes of annotations count as well, because its controller copies them. */
function withGeneration(resource: Resource, before: KubeObject, after: KubeObject): KubeObject {
  if (!hasGeneration(resource)) return after;
  const noted = ({ metadata }: KubeObject): unknown => (resource === deployments ? metadata.annotations : undefined);
  const asked = (one: KubeObject): unknown => [without(one, 'metadata', 'status', 'apiVersion'), noted(one)];
  const { generation = 1 } = before.metadata;
  const changed = !sameJson(asked(before), asked(after));
  return { ...after, metadata: { ...after.metadata, generation: changed ? generation + 1 : generation } };
}

/** An update that changes nothing makes no new version. */
function sameObject(before: KubeObject, after: KubeObject): boolean {
  const bare = (one: KubeObject): unknown => ({ ...one, metadata: without(one.metadata, 'managedFields') });
  return sameJson(bare(before), bare(after));
}

/** Who has written it. Which fields are whose is not kept: server-side apply, which asks for that, is refused. */
function managedBy(object: KubeObject, manager: string): KubeObject {
  const { apiVersion, metadata } = object;
  const others = (metadata.managedFields ?? []).filter((entry) => entry.manager !== manager);
  const entry = {
    manager,
    operation: 'Update',
    apiVersion,
    time: timeNow(),
    fieldsType: 'FieldsV1',
    fieldsV1: {},
  } as const;
  return { ...object, metadata: { ...metadata, managedFields: [...others, entry] } };
}
