import { isDeepStrictEqual } from 'node:util';
import type { FoundFunction } from '../../../core/contracts/deployment.ts';
import type { Cluster } from './cluster.ts';
import type { KubeDeployment, KubeObject } from './kinds.ts';
import { readDeployment } from './objects/read.ts';

/** The functions that the cluster has, as they are deployed there. What runs of them is no part of it. */
export class Found {
  readonly #functions = new Map<string, FoundFunction>();
  readonly #listeners = new Set<() => void>();
  readonly #forget: () => void;
  #isTold = true;

  constructor({ deployments }: Cluster) {
    for (const deployment of deployments.list()) this.#put(deployment);
    this.#forget = deployments.onEvent(({ type, object }) => {
      const hasChanged = type === 'removed' ? this.#functions.delete(nameOf(object)) : this.#put(object);
      if (hasChanged) this.#tellLater();
    });
  }

  get functions(): ReadonlyMap<string, FoundFunction> {
    return this.#functions;
  }

  /** Once for all that came in one turn of the event loop: a list brings thousands. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stop(): void {
    this.#forget();
    this.#listeners.clear();
  }

  /** Whether it is another than before: a Deployment changes whenever one of its pods comes or goes. */
  #put(object: KubeDeployment): boolean {
    const name = nameOf(object);
    const deployment = readDeployment(object);
    if (!deployment) return this.#functions.delete(name);
    const createdAt = Date.parse(object.metadata.creationTimestamp ?? '');
    const before = this.#functions.get(name);
    if (before?.createdAt === createdAt && isDeepStrictEqual(before.deployment, deployment)) return false;
    this.#functions.set(name, { deployment, createdAt });
    return true;
  }

  #tellLater(): void {
    if (!this.#isTold) return;
    this.#isTold = false;
    setImmediate(() => {
      this.#isTold = true;
      for (const listener of this.#listeners) listener();
    });
  }
}

/** `name.namespace` */
export function nameOf({ metadata: { name, namespace = '' } }: KubeObject): string {
  return `${name}.${namespace}`;
}
