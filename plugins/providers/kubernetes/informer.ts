import type { KubeObject } from './kinds.ts';

/** Something happened to an object. `before` is what was known of it. */
export type InformerEvent<T> =
  | { readonly type: 'added'; readonly object: T }
  | { readonly type: 'changed'; readonly object: T; readonly before: T }
  | { readonly type: 'removed'; readonly object: T };

/** What is known of the objects of one kind, without asking anybody. While the API server is away it is what was last known. */
export interface Informer<T extends KubeObject> {
  /** Every namespace has been listed once. */
  readonly isSynced: boolean;
  get(namespace: string, name: string): T | undefined;
  /** Of one namespace, or of all. The same object as before means that it has not changed. */
  list(namespace?: string): Iterable<T>;
  /** Calls `listener` in the turn in which it becomes known; returns what ends that. It must not throw. */
  onEvent(listener: (event: InformerEvent<T>) => void): () => void;
  /** What a write has answered: it is known at once, and what the watch says of before changes nothing of it. */
  learn(object: T): void;
  /** It has been deleted: it is gone at once, whatever the watch says of before. */
  bury(object: T): void;
}

/** Whether a version is that of another or a later one: those of one kind are numbers that grow (KEP-5504). */
export function isAsNew(version: string, other: string): boolean {
  return version.length === other.length ? version >= other : version.length > other.length;
}

/** The cache behind an `Informer`: reflectors write it, one for each namespace. */
export class Objects<T extends KubeObject> implements Informer<T> {
  readonly #spaces = new Map<string, Map<string, T>>();
  readonly #listeners = new Set<(event: InformerEvent<T>) => void>();
  /** Namespaces that have been listed. */
  readonly #listed = new Set<string>();
  /** Namespaces by the uid of what was buried in them, until the watch says so too. */
  readonly #buried = new Map<string, string>();
  readonly #wanted: () => Iterable<string>;

  /** `wanted`: the namespaces whose lists make it complete. */
  constructor(wanted: () => Iterable<string>) {
    this.#wanted = wanted;
  }

  get isSynced(): boolean {
    for (const namespace of this.#wanted()) if (!this.#listed.has(namespace)) return false;
    return true;
  }

  get(namespace: string, name: string): T | undefined {
    return this.#spaces.get(namespace)?.get(name);
  }

  *list(namespace?: string): Iterable<T> {
    if (namespace !== undefined) yield* this.#spaces.get(namespace)?.values() ?? [];
    else for (const space of this.#spaces.values()) yield* space.values();
  }

  onEvent(listener: (event: InformerEvent<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  learn(object: T): void {
    this.put(object.metadata.namespace ?? '', object);
  }

  bury({ metadata: { namespace = '', name, uid = '' } }: T): void {
    this.#buried.set(uid, namespace);
    if (this.get(namespace, name)?.metadata.uid === uid) this.#drop(namespace, name);
  }

  put(namespace: string, object: T): void {
    const { name, resourceVersion, uid = '' } = object.metadata;
    if (this.#buried.has(uid)) return;
    const space = this.#space(namespace);
    const before = space.get(name);
    if (before && isAsNew(before.metadata.resourceVersion, resourceVersion)) return;
    space.set(name, object);
    if (before?.metadata.uid === object.metadata.uid && before) {
      this.#tell({ type: 'changed', object, before });
      return;
    }
    // One that was deleted and made anew in between is two things that happened.
    if (before) this.#tell({ type: 'removed', object: before });
    this.#tell({ type: 'added', object });
  }

  /** As the watch says it; with `uid`, that one and not another of its name. */
  remove(namespace: string, name: string, uid?: string): void {
    if (uid !== undefined) this.#buried.delete(uid);
    if (uid === undefined || this.get(namespace, name)?.metadata.uid === uid) this.#drop(namespace, name);
  }

  /** The whole of a namespace, as a list of that version has it. */
  replace(namespace: string, objects: readonly T[], version: string): void {
    const left = new Map(this.#space(namespace));
    const uids = new Set(objects.map(({ metadata }) => metadata.uid));
    for (const [uid, where] of this.#buried) if (where === namespace && !uids.has(uid)) this.#buried.delete(uid);
    this.#listed.add(namespace);
    for (const object of objects) {
      left.delete(object.metadata.name);
      this.put(namespace, object);
    }
    for (const [name, { metadata }] of left) {
      if (isAsNew(version, metadata.resourceVersion)) this.#drop(namespace, name);
    }
  }

  /** There is nothing in the namespace, as far as the cluster lets us see. */
  clear(namespace: string): void {
    this.#listed.add(namespace);
    for (const name of this.#space(namespace).keys()) this.#drop(namespace, name);
  }

  /** The namespace is none of ours any more. */
  forget(namespace: string): void {
    this.clear(namespace);
    this.#spaces.delete(namespace);
    this.#listed.delete(namespace);
  }

  #drop(namespace: string, name: string): void {
    const object = this.get(namespace, name);
    this.#spaces.get(namespace)?.delete(name);
    if (object) this.#tell({ type: 'removed', object });
  }

  #space(namespace: string): Map<string, T> {
    const found = this.#spaces.get(namespace);
    if (found) return found;
    const space = new Map<string, T>();
    this.#spaces.set(namespace, space);
    return space;
  }

  #tell(event: InformerEvent<T>): void {
    for (const listener of this.#listeners) listener(event);
  }
}
