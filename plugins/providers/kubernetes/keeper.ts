import type { Deployment, DeploymentKeeper, FoundFunction, Namespace } from '../../../core/contracts/deployment.ts';
import { MillraceError, missingFunction } from '../../../core/contracts/errors.ts';
import { partsOf } from '../../../core/kit/names.ts';
import type { Cluster } from './cluster.ts';
import type { KubernetesConfig } from './config.ts';
import { Found } from './found.ts';
import { notStarted, toldOf } from './kube-error.ts';
import { type KubeDeployment, kinds } from './kinds.ts';
import { Namespaces } from './namespaces.ts';
import { objectsFor } from './wishes.ts';
import type { WorkQueue } from './work-queue.ts';
import { ObjectWriter } from './writer.ts';

/** What all of the keeper works with, once the provider has started. */
export interface KeeperParts {
  readonly cluster: Cluster;
  readonly config: KubernetesConfig;
  /** In which nobody else is at a function while it is written. */
  readonly queue: WorkQueue;
}

interface Opened extends KeeperParts {
  readonly found: Found;
  readonly namespaces: Namespaces;
  readonly writer: ObjectWriter;
}

/**
 * Functions as the cluster keeps them. Whoever deploys is told what the API server said, so a deployment is one pass
 * through the work queue and not tried again there: its caller knows best whether he still wants it.
 */
export class ClusterKeeper implements DeploymentKeeper {
  readonly #listeners = new Set<() => void>();
  #opened: Opened | undefined;

  open(parts: KeeperParts): void {
    const found = new Found(parts.cluster);
    found.onChange(() => {
      for (const listener of this.#listeners) listener();
    });
    const namespaces = new Namespaces(parts.cluster, parts.config);
    this.#opened = { ...parts, found, namespaces, writer: new ObjectWriter(parts.cluster) };
  }

  close(): void {
    this.#opened?.found.stop();
    this.#opened = undefined;
    this.#listeners.clear();
  }

  functions(): ReadonlyMap<string, FoundFunction> {
    return this.#opened?.found.functions ?? new Map();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async deploy(asked: Deployment, how: 'create' | 'update'): Promise<void> {
    const { cluster, config, queue, writer } = this.#open();
    const { service, namespace } = asked;
    const name = `${service}.${namespace}`;
    await queue.perform(name, async () => {
      const actual = cluster.deployments.get(namespace, service);
      if (how === 'create' && actual) throw conflict(`function ${name} is there already: PUT replaces it`);
      if (how === 'update' && !actual) throw missingFunction(name);
      if (actual) needNoOwner(name, actual);
      const objects = objectsFor(asked, cluster, config);
      try {
        if (how === 'create') await writer.create(objects);
        else await writer.ensure(objects, (actual) => needNoOwner(name, actual));
      } catch (error) {
        throw toldOf(error, `function ${name}`);
      }
    });
  }

  async remove(name: string): Promise<void> {
    const { cluster, queue, writer } = this.#open();
    const { name: service, namespace } = partsOf(name);
    await queue.perform(name, async () => {
      const actual = cluster.deployments.get(namespace, service);
      if (!actual) throw missingFunction(name);
      needNoOwner(name, actual);
      try {
        await writer.remove(namespace, service);
      } catch (error) {
        throw toldOf(error, `function ${name}`);
      }
    });
  }

  namespaces(): readonly Namespace[] {
    return this.#opened?.namespaces.list() ?? [];
  }

  putNamespace(namespace: Namespace, how: 'create' | 'update'): Promise<void> {
    return this.#open().namespaces.put(namespace, how);
  }

  removeNamespace(name: string): Promise<void> {
    return this.#open().namespaces.remove(name);
  }

  #open(): Opened {
    if (this.#opened) return this.#opened;
    throw notStarted();
  }
}

/** What a `Function` resource keeps would be made again as that says. */
function needNoOwner(name: string, { metadata: { ownerReferences = [] } }: KubeDeployment): void {
  const owner = ownerReferences.find(({ kind }) => kind === kinds.functions.kind);
  if (owner) throw conflict(`function ${name} is kept by the resource Function ${owner.name}: change that`);
}

function conflict(message: string): MillraceError {
  return new MillraceError('request.conflict', message);
}
