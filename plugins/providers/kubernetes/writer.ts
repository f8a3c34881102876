import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Cluster } from './cluster.ts';
import type { Informer } from './informer.ts';
import { isKubeError } from './kube-error.ts';
import { type Kind, type KubeDeployment, type KubeObject, type KubeService, kinds, type New } from './kinds.ts';
import { changedDeployment, changedService, isAsWanted } from './objects/change.ts';
import type { FunctionObjects } from './objects/function-objects.ts';
import { functionLabel } from './objects/words.ts';

/** How often a write is tried that meets those of others. */
const tries = 8;

/** One kind, and how an object of it becomes what is wanted. */
interface Keeping<T extends KubeDeployment | KubeService> {
  readonly kind: Kind<T>;
  readonly known: Informer<T>;
  readonly change: (actual: T, wanted: New<T>) => T;
}

/**
 * Makes the objects of functions what they are wanted to be. Each write says which version it replaces, or that there is
 * to be none, so that of several gateways one makes an object and the others find it. Rejects with `KubeError`.
 */
export class ObjectWriter {
  readonly #cluster: Cluster;
  readonly #deployments: Keeping<KubeDeployment>;
  readonly #services: Keeping<KubeService>;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    const { deployments, services } = cluster;
    this.#deployments = { kind: kinds.deployments, known: deployments, change: changedDeployment };
    this.#services = { kind: kinds.services, known: services, change: changedService };
  }

  /** Both objects new. Rejects with 409 when there is a Deployment of that name; nothing is left when it rejects. */
  async create({ deployment, service }: FunctionObjects): Promise<void> {
    const made = await this.#cluster.client.create(kinds.deployments, deployment.metadata.namespace, deployment);
    try {
      await this.#ensure(this.#services, service, needOwnService);
    } catch (error) {
      await this.#removeOne(this.#deployments, made);
      throw error;
    }
    this.#cluster.deployments.learn(made);
  }

  /**
   * Makes what is not there and changes what is otherwise; writes nothing when all is well. `check` sees the Deployment
   * that is there before it is changed, and throws to leave it as it is.
   */
  async ensure(
    { deployment, service }: FunctionObjects,
    check: (actual: KubeDeployment) => void = () => {},
  ): Promise<void> {
    await this.#ensure(this.#deployments, deployment, check);
    await this.#ensure(this.#services, service, needOwnService);
  }

  /** Both gone; fine when they were. Pods end in their own time. */
  async remove(namespace: string, name: string): Promise<void> {
    const deployment = this.#deployments.known.get(namespace, name);
    if (deployment) await this.#removeOne(this.#deployments, deployment);
    const service = this.#services.known.get(namespace, name);
    if (service && isOwnService(service)) await this.#removeOne(this.#services, service);
  }

  async #ensure<T extends KubeDeployment | KubeService>(
    { kind, known, change }: Keeping<T>,
    wanted: New<T>,
    check: (actual: T) => void = () => {},
  ): Promise<void> {
    const { client } = this.#cluster;
    const { name, namespace = '' } = wanted.metadata;
    let actual = known.get(namespace, name);
    for (let attempt = 1; ; attempt++) {
      if (actual) check(actual);
      if (actual && isAsWanted(actual, wanted)) return;
      try {
        const written = actual
          ? await client.update(kind, namespace, change(actual, wanted))
          : await client.create(kind, namespace, wanted);
        known.learn(written);
        return;
      } catch (error) {
        if (!isKubeError(error, 404, 409) || attempt === tries) throw error;
        actual = await this.#read(kind, namespace, name);
      }
    }
  }

  /** What it is now, whatever the watch has told; undefined when there is none. */
  async #read<T extends KubeObject>(kind: Kind<T>, namespace: string, name: string): Promise<T | undefined> {
    try {
      return await this.#cluster.client.get(kind, namespace, name);
    } catch (error) {
      if (isKubeError(error, 404)) return undefined;
      throw error;
    }
  }

  /** That one, and not one of its name that was made since. */
  async #removeOne<T extends KubeDeployment | KubeService>({ kind, known }: Keeping<T>, actual: T): Promise<void> {
    const { name, namespace = '', uid = '' } = actual.metadata;
    const options = { propagationPolicy: 'Background', preconditions: { uid } } as const;
    try {
      await this.#cluster.client.remove(kind, namespace, name, options);
    } catch (error) {
      // Gone, or another by now.
      if (!isKubeError(error, 404, 409)) throw error;
    }
    known.bury(actual);
  }
}

function isOwnService({ metadata: { name }, spec }: KubeService): boolean {
  return spec?.selector?.[functionLabel] === name;
}

/** What leads to something else is not turned away from it. */
function needOwnService(service: KubeService): void {
  if (isOwnService(service)) return;
  const { name, namespace = '' } = service.metadata;
  const text = `there is a Service ${name} in ${namespace} that is of no function: remove it, or call the function otherwise`;
  throw new MillraceError('request.conflict', text);
}
