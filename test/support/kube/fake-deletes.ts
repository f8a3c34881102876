import { type JsonObject, keyOf, type KubeObject, type OwnerReference, timeNow } from './fake-objects.ts';
import type { Definitions } from './fake-definitions.ts';
import { namespaces, pods, qualifiedName, type Resource } from './fake-resources.ts';
import { ApiError, notFound } from './fake-status.ts';
import type { Change, Store } from './fake-store.ts';

export interface DeleteOptions {
  readonly dryRun: boolean;
  readonly propagation: 'Background' | 'Foreground' | 'Orphan';
  readonly gracePeriodSeconds?: number | undefined;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string } | undefined;
}

const foreground = 'foregroundDeletion';

/** Deletes objects, and as the garbage collector does those that belong to them. */
export class Deletes {
  readonly #store: Store;
  readonly #definitions: Definitions;
  /** What belongs to each owner, by its uid. */
  readonly #owned = new Map<string, Map<string, { readonly resource: Resource; readonly key: string }>>();

  constructor(store: Store, definitions: Definitions) {
    this.#store = store;
    this.#definitions = definitions;
    store.onChange((change) => this.#changed(change));
  }

  /** Returns what the client is told: a Status where it is gone, the object where that takes longer. */
  delete(resource: Resource, namespace: string | undefined, name: string, options: DeleteOptions): object {
    const key = keyOf({ name, ...(namespace !== undefined && { namespace }) });
    const before = this.#store.get(resource, key);
    if (!before) throw notFound(resource, name);
    checkPreconditions(resource, before, options);
    if (options.dryRun) return statusOf(resource, before);
    const grace = resource === pods ? (options.gracePeriodSeconds ?? 30) : 0;
    const waits = resource === namespaces || (resource === pods && grace > 0);
    const finalizers = [
      ...(before.metadata.finalizers ?? []),
      ...(options.propagation === 'Foreground' ? [foreground] : []),
    ];
    if (options.propagation === 'Orphan') this.#orphan(before);
    if (!waits && finalizers.length === 0) {
      this.#store.delete(resource, key);
      return statusOf(resource, before);
    }
    if (before.metadata.deletionTimestamp !== undefined) return before;
    const ending = {
      deletionTimestamp: timeNow(),
      ...(resource !== namespaces && { deletionGracePeriodSeconds: grace }),
      ...(finalizers.length > 0 && { finalizers: [...new Set(finalizers)] }),
      ...(before.metadata.generation !== undefined && { generation: before.metadata.generation + 1 }),
    };
    const status = resource === namespaces ? { status: { phase: 'Terminating' } } : {};
    const marked = this.#store.put(resource, { ...before, ...status, metadata: { ...before.metadata, ...ending } });
    // The client has its answer before what follows from it.
    setImmediate(() => (resource === namespaces ? this.#empty(name) : this.#finish(resource, key)));
    return marked;
  }

  /** Objects of that resource that belong to that owner. */
  dependentsOf(uid: string, resource: Resource): KubeObject[] {
    return [...(this.#owned.get(uid)?.values() ?? [])]
      .filter((owned) => owned.resource === resource)
      .flatMap(({ key }) => this.#store.get(resource, key) ?? []);
  }

  #changed(change: Change): void {
    const { type, object, resource } = change;
    this.#index(change);
    const owners = object.metadata.ownerReferences ?? [];
    if (type === 'ADDED' && owners.length > 0) setImmediate(() => this.#collect(resource, object));
    if (type === 'DELETED') {
      setImmediate(() => {
        for (const [kind, dependent] of this.#dependents(object)) this.#collect(kind, dependent);
        for (const owner of owners) this.#ownerMayGo(owner, object.metadata.namespace);
      });
    } else if (object.metadata.deletionTimestamp !== undefined) {
      // Somebody may have taken the last finalizer away.
      setImmediate(() => this.#finish(resource, keyOf(object.metadata)));
    }
  }

  /** Ends one that is marked, once no finalizer holds it. In the foreground its dependents go first. */
  #finish(resource: Resource, key: string): void {
    const object = this.#store.get(resource, key);
    if (object?.metadata.deletionTimestamp === undefined || resource === pods || resource === namespaces) return;
    const { finalizers = [] } = object.metadata;
    if (finalizers.includes(foreground)) {
      const blocking = this.#dependents(object);
      for (const [kind, dependent] of blocking) this.#collect(kind, dependent, 'Foreground');
      if (this.#dependents(object).length > 0) return;
    }
    const left = finalizers.filter((one) => one !== foreground);
    if (left.length === 0) this.#store.delete(resource, key);
  }

  /** One goes whose owners are all gone, or never were. */
  #collect(resource: Resource, object: KubeObject, propagation: 'Background' | 'Foreground' = 'Background'): void {
    if (this.#store.get(resource, keyOf(object.metadata))?.metadata.uid !== object.metadata.uid) return;
    const others = (object.metadata.ownerReferences ?? []).filter((owner) =>
      this.#exists(owner, object.metadata.namespace),
    );
    const waits = others.length > 0 && propagation === 'Background';
    if (waits || object.metadata.deletionTimestamp !== undefined) return;
    const { name, namespace } = object.metadata;
    this.delete(resource, namespace, name, { dryRun: false, propagation });
  }

  #ownerMayGo({ uid, kind, apiVersion, name }: OwnerReference, namespace: string | undefined): void {
    const resource = this.#resourceOf(apiVersion, kind);
    const key = `${namespace ?? ''}/${name}`;
    if (resource && this.#store.get(resource, key)?.metadata.uid === uid) this.#finish(resource, key);
  }

  #dependents({ metadata: { uid } }: KubeObject): [Resource, KubeObject][] {
    return [...(this.#owned.get(uid)?.values() ?? [])].flatMap(({ resource, key }) => {
      const object = this.#store.get(resource, key);
      return object ? [[resource, object] as [Resource, KubeObject]] : [];
    });
  }

  #index({ resource, type, object, before }: Change): void {
    const key = keyOf(object.metadata);
    const id = `${qualifiedName(resource)} ${key}`;
    for (const { uid } of before?.metadata.ownerReferences ?? []) this.#owned.get(uid)?.delete(id);
    if (type === 'DELETED') {
      if (this.#owned.get(object.metadata.uid)?.size === 0) this.#owned.delete(object.metadata.uid);
      return;
    }
    for (const { uid } of object.metadata.ownerReferences ?? []) {
      const owned = this.#owned.get(uid) ?? new Map<string, { resource: Resource; key: string }>();
      this.#owned.set(uid, owned.set(id, { resource, key }));
    }
  }

  #exists({ uid, kind, apiVersion, name }: OwnerReference, namespace: string | undefined): boolean {
    const resource = this.#resourceOf(apiVersion, kind);
    if (!resource) return false;
    const found = this.#store.get(resource, `${resource.namespaced ? (namespace ?? '') : ''}/${name}`);
    return found?.metadata.uid === uid;
  }

  #resourceOf(apiVersion: string, kind: string): Resource | undefined {
    const [group = '', version = ''] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
    return this.#definitions.all().find((one) => one.kind === kind && one.group === group && one.version === version);
  }

  #orphan(owner: KubeObject): void {
    for (const [resource, object] of this.#dependents(owner)) {
      const ownerReferences = object.metadata.ownerReferences?.filter(({ uid }) => uid !== owner.metadata.uid) ?? [];
      this.#store.put(resource, { ...object, metadata: { ...object.metadata, ownerReferences } });
    }
  }

  #empty(namespace: string): void {
    for (const resource of this.#definitions.all()) {
      if (!resource.namespaced) continue;
      for (const { metadata } of this.#store.list(resource, namespace)) {
        const { name } = metadata;
        if (this.#store.get(resource, `${namespace}/${name}`)) {
          this.delete(resource, namespace, name, { dryRun: false, propagation: 'Background', gracePeriodSeconds: 0 });
        }
      }
    }
    const left = this.#definitions.all().some((one) => one.namespaced && this.#store.list(one, namespace).length > 0);
    if (!left) this.#store.delete(namespaces, `/${namespace}`);
    else setImmediate(() => this.#empty(namespace));
  }
}

function checkPreconditions(resource: Resource, { metadata }: KubeObject, { preconditions }: DeleteOptions): void {
  const { group, kind } = resource;
  const named = { group, plural: kind };
  const refuse = (what: string, asked: string, found: string, why: string): ApiError => {
    const message =
      `Operation cannot be fulfilled on ${qualifiedName(named)} "${metadata.name}": the ${what} in the precondition (${asked}) ` +
      `does not match the ${what} in record (${found}). The object might have been ${why}`;
    return new ApiError(409, 'Conflict', message, { name: metadata.name, ...(group !== '' && { group }), kind });
  };
  const { uid, resourceVersion } = preconditions ?? {};
  if (uid !== undefined && uid !== metadata.uid) {
    throw refuse('UID', uid, metadata.uid, 'deleted and then recreated');
  }
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion) {
    throw refuse('ResourceVersion', resourceVersion, metadata.resourceVersion, 'modified');
  }
}

function statusOf({ group, plural }: Resource, { metadata: { name, uid } }: KubeObject): JsonObject {
  const details = { name, ...(group !== '' && { group }), kind: plural, uid };
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
}
