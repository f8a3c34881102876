import { randomUUID } from 'node:crypto';
import { type KubeObject, keyOf } from './fake-objects.ts';
import { qualifiedName, type Resource } from './fake-resources.ts';

/** A change, as watches tell it. */
export interface Change {
  readonly resource: Resource;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly version: number;
  /** As it is now; of one that was deleted as it was last, with the version of its end. */
  readonly object: KubeObject;
  readonly before: KubeObject | undefined;
}

/** So many changes can be watched again: the real one keeps those of five minutes. */
const keptChanges = 20_000;

/**
 * What etcd is to the API server: the objects, one version counter for all of them, and the changes since some version.
 * Everything happens in one turn of the event loop, so no two writes ever meet.
 */
export class Store {
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #listeners = new Set<(change: Change) => void>();
  #changes: Change[] = [];
  readonly #untold: Change[] = [];
  #version = 1;
  #oldest = 1;

  get version(): number {
    return this.#version;
  }

  /** Watches from before this version are told 410. */
  get oldest(): number {
    return this.#oldest;
  }

  get(resource: Resource, key: string): KubeObject | undefined {
    return this.#of(resource).get(key);
  }

  /** In the order of their keys, as etcd has them. */
  list(resource: Resource, namespace?: string): KubeObject[] {
    const all = [...this.#of(resource)];
    const found = namespace === undefined ? all : all.filter(([key]) => key.startsWith(`${namespace}/`));
    return found.sort(([left], [right]) => (left < right ? -1 : 1)).map(([, object]) => object);
  }

  /** Writes it under a new version, and returns what is kept. */
  put(resource: Resource, object: KubeObject): KubeObject {
    const key = keyOf(object.metadata);
    const objects = this.#of(resource);
    const before = objects.get(key);
    const uid = before?.metadata.uid ?? (object.metadata.uid || randomUUID());
    const version = ++this.#version;
    const kept = { ...object, metadata: { ...object.metadata, uid, resourceVersion: String(version) } };
    objects.set(key, kept);
    this.#tell({ resource, type: before ? 'MODIFIED' : 'ADDED', version, object: kept, before });
    return kept;
  }

  delete(resource: Resource, key: string): KubeObject | undefined {
    const objects = this.#of(resource);
    const before = objects.get(key);
    if (!before) return undefined;
    objects.delete(key);
    const version = ++this.#version;
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } };
    this.#tell({ resource, type: 'DELETED', version, object, before });
    return object;
  }

  /** Changes of a resource after that version, the oldest first. */
  since(resource: Resource, version: number): readonly Change[] {
    const name = qualifiedName(resource);
    return this.#changes.filter((change) => change.version > version && qualifiedName(change.resource) === name);
  }

  /** Calls back with every change from now on, in its own turn; returns what ends that. */
  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Forgets the changes so far, as etcd does after five minutes. */
  compact(): void {
    this.#changes = [];
    this.#oldest = this.#version;
  }

  #of(resource: Resource): Map<string, KubeObject> {
    const name = qualifiedName(resource);
    let objects = this.#objects.get(name);
    if (!objects) this.#objects.set(name, (objects = new Map()));
    return objects;
  }

  #tell(change: Change): void {
    this.#changes.push(change);
    if (this.#changes.length > 2 * keptChanges) {
      this.#changes = this.#changes.slice(-keptChanges);
      this.#oldest = (this.#changes[0]?.version ?? change.version) - 1;
    }
    this.#untold.push(change);
    if (this.#untold.length > 1) return;
    // A listener may write as well: all of them hear of one change before any hears of the next.
    for (let next = this.#untold[0]; next; next = this.#untold[0]) {
      for (const listener of this.#listeners) listener(next);
      this.#untold.shift();
    }
  }
}
