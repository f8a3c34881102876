import { isDeepStrictEqual } from 'node:util';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import type { Deployment } from '../../../core/contracts/deployment.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { FunctionSpec } from '../../../core/contracts/provider.ts';
import { partsOf } from '../../../core/kit/names.ts';
import type { Cluster } from './cluster.ts';
import type { KubernetesConfig, KubernetesFunction } from './config.ts';
import { nameOf } from './found.ts';
import type { InformerEvent } from './informer.ts';
import { isFinal, toldOf } from './kube-error.ts';
import type { KubeDeployment } from './kinds.ts';
import { managedByLabel, millrace } from './objects/words.ts';
import { objectsFor } from './wishes.ts';
import type { WorkQueue } from './work-queue.ts';
import { ObjectWriter } from './writer.ts';

export interface DeclaredParts {
  readonly cluster: Cluster;
  readonly config: KubernetesConfig;
  readonly host: ProviderHost;
  /** Calls `reconcile` for what is added to it. */
  readonly queue: WorkQueue;
}

/** Functions of the configuration, which the cluster has as they stand there, whatever becomes of them. */
export class DeclaredFunctions {
  readonly #parts: DeclaredParts;
  readonly #writer: ObjectWriter;
  readonly #wanted = new Map<string, Deployment>();
  /** They stood in the configuration, and are to be removed. */
  readonly #unwanted = new Set<string>();
  readonly #ends: readonly (() => void)[];

  constructor(parts: DeclaredParts) {
    this.#parts = parts;
    this.#writer = new ObjectWriter(parts.cluster);
    const { deployments, services } = parts.cluster;
    this.#ends = [
      deployments.onEvent((event) => {
        if (isByHand(event)) this.#lookAt(nameOf(event.object));
      }),
      services.onEvent(({ type, object }) => {
        if (type !== 'added') this.#lookAt(nameOf(object));
      }),
      parts.cluster.onNewSecret((namespace, secret) => this.#onSecret(namespace, secret)),
    ];
  }

  /** From now on it is to be there. What keeps it from that is told as its state. */
  put(spec: FunctionSpec): void {
    this.#unwanted.delete(spec.name);
    this.#wanted.set(spec.name, deploymentOf(spec));
    this.#tell(spec.name, 'scaling', undefined);
    this.#parts.queue.add(spec.name);
  }

  /** From now on it is not to be there. */
  remove(name: string): void {
    if (!this.#wanted.delete(name)) return;
    this.#unwanted.add(name);
    this.#parts.queue.add(name);
  }

  stop(): void {
    for (const end of this.#ends) end();
  }

  /** Makes of it what it is to be; rejects when that has to be tried again. */
  async reconcile(name: string): Promise<void> {
    const wanted = this.#wanted.get(name);
    try {
      if (wanted) await this.#make(wanted);
      else if (this.#unwanted.has(name)) await this.#unmake(name);
    } catch (error) {
      const told = toldOf(error, `function ${name}`);
      this.#tell(name, isFinal(told) ? 'failed' : 'scaling', messageOf(told));
      throw told;
    }
  }

  async #make(wanted: Deployment): Promise<void> {
    const { cluster, config } = this.#parts;
    const objects = objectsFor(wanted, cluster, config, { [managedByLabel]: millrace });
    await this.#writer.ensure(objects, (actual) => {
      if (isOurs(actual)) return;
      const text = `there is one already that no configuration of Millrace has made: remove it, or label it ${managedByLabel}=${millrace}`;
      throw new MillraceError('request.conflict', `function ${nameOf(actual)}: ${text}`);
    });
  }

  async #unmake(name: string): Promise<void> {
    const { name: service, namespace } = partsOf(name);
    const actual = this.#parts.cluster.deployments.get(namespace, service);
    if (actual && isOurs(actual)) await this.#writer.remove(namespace, service);
    this.#unwanted.delete(name);
  }

  #lookAt(name: string): void {
    if (this.#wanted.has(name)) this.#parts.queue.add(name);
  }

  #onSecret(where: string, secret: string): void {
    for (const [name, { namespace, secrets }] of this.#wanted) {
      if (namespace === where && secrets.includes(secret)) this.#parts.queue.add(name);
    }
  }

  /** Of one that the cluster has, its Deployment tells. */
  #tell(name: string, state: 'scaling' | 'failed', message: string | undefined): void {
    const { cluster, host } = this.#parts;
    const { name: service, namespace } = partsOf(name);
    if (cluster.deployments.get(namespace, service)) return;
    host.report({ name, state, replicas: 0, availableReplicas: 0, capacity: 0, message });
  }
}

function isOurs({ metadata: { labels = {}, ownerReferences = [] } }: KubeDeployment): boolean {
  return labels[managedByLabel] === millrace && ownerReferences.length === 0;
}

/** Its pods come and go without that: what it says has been changed, or it is gone. */
function isByHand(event: InformerEvent<KubeDeployment>): boolean {
  if (event.type !== 'changed') return event.type === 'removed';
  const [before, now] = [event.before.metadata, event.object.metadata];
  return before.generation !== now.generation || !isDeepStrictEqual(before.labels, now.labels);
}

function deploymentOf({ name, config, env, labels, annotations }: FunctionSpec): Deployment {
  const { name: service, namespace } = partsOf(name);
  return { ...(config as KubernetesFunction), service, namespace, envVars: env, labels, annotations };
}
