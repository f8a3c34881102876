import { isDeepStrictEqual } from 'node:util';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import type { Deployment } from '../../../core/contracts/deployment.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { WorkQueueStats } from '../../../core/contracts/provider.ts';
import type { Cluster } from './cluster.ts';
import type { KubernetesConfig } from './config.ts';
import type { InformerEvent } from './informer.ts';
import { isFinal, isKubeError, toldOf } from './kube-error.ts';
import { type KubeFunction, type KubeObject, kinds, pathOf } from './kinds.ts';
import type { FunctionObjects } from './objects/function-objects.ts';
import { resourceStatusOf } from './resource-status.ts';
import { objectsFor } from './wishes.ts';
import { standardWorkQueue, WorkQueue } from './work-queue.ts';
import { ObjectWriter } from './writer.ts';

/** After a start each of them is looked at, which writes nothing where all is well. */
const queueSettings = { ...standardWorkQueue, perSecond: 200, burst: 1000 };

/**
 * Has the cluster run what resources of the kind `Function` (openfaas.com/v1) say. Their Deployments and Services are
 * theirs (owner references), so that the cluster's own garbage collector removes them together. Any number of gateways
 * may do it at once: whatever one writes says which version it replaces, and all of them want the same.
 */
export class FunctionResources {
  readonly #cluster: Cluster;
  readonly #config: KubernetesConfig;
  readonly #host: ProviderHost;
  readonly #writer: ObjectWriter;
  readonly #queue: WorkQueue;
  #ends: readonly (() => void)[] = [];

  constructor(cluster: Cluster, config: KubernetesConfig, host: ProviderHost) {
    this.#cluster = cluster;
    this.#config = config;
    this.#host = host;
    this.#writer = new ObjectWriter(cluster);
    this.#queue = new WorkQueue('resources', (key) => this.#reconcile(key), queueSettings, host);
  }

  get stats(): WorkQueueStats {
    return this.#queue.stats;
  }

  start(): void {
    const { functions, deployments, services } = this.#cluster;
    const onOwned = ({ object }: InformerEvent<KubeObject>): void => {
      const owner = ownerOf(object);
      if (owner) this.#add(object.metadata.namespace, owner.name);
    };
    for (const { metadata } of functions.list()) this.#add(metadata.namespace, metadata.name);
    this.#ends = [
      functions.onEvent(({ object: { metadata } }) => this.#add(metadata.namespace, metadata.name)),
      deployments.onEvent(onOwned),
      services.onEvent(onOwned),
      this.#cluster.onNewSecret((namespace, secret) => this.#onSecret(namespace, secret)),
    ];
  }

  async stop(deadlineMs: number): Promise<void> {
    for (const end of this.#ends) end();
    await this.#queue.stop(deadlineMs);
  }

  #add(namespace: string | undefined, name: string): void {
    this.#queue.add(`${namespace ?? ''}/${name}`);
  }

  /** Those that wait for it need not wait for their next try. */
  #onSecret(namespace: string, secret: string): void {
    for (const { metadata, spec } of this.#cluster.functions.list(namespace)) {
      if (spec.secrets?.includes(secret)) this.#add(metadata.namespace, metadata.name);
    }
  }

  /** Makes of one what it says, and tells it what came of that; rejects when that has to be tried again. */
  async #reconcile(key: string): Promise<void> {
    const [namespace = '', name = ''] = key.split('/');
    const resource = this.#cluster.functions.get(namespace, name);
    if (!resource || resource.metadata.deletionTimestamp !== undefined) return;
    let problem: unknown;
    try {
      await this.#make(resource);
    } catch (error) {
      problem = toldOf(error, `function ${resource.spec.name}`);
      if (!isFinal(problem)) throw problem;
    }
    await this.#tell(resource, problem);
    if (problem !== undefined) throw problem;
  }

  async #make(resource: KubeFunction): Promise<void> {
    const objects = objectsFor(deploymentOf(resource), this.#cluster, this.#config);
    await this.#writer.ensure(owned(objects, resource), (actual) => {
      if (ownerOf(actual)?.uid === resource.metadata.uid) return;
      const text = `there is a Deployment ${actual.metadata.name} already that is not of this resource: remove it`;
      throw new MillraceError('request.conflict', text);
    });
  }

  /** Written only where it is another, since each write wakes every gateway. */
  async #tell(resource: KubeFunction, problem: unknown): Promise<void> {
    const { name, namespace = '', resourceVersion, uid } = resource.metadata;
    const { client, deployments, functions } = this.#cluster;
    const found = deployments.get(namespace, resource.spec.name);
    const own = found && ownerOf(found)?.uid === uid ? found : undefined;
    const now = new Date(this.#host.clock.now()).toISOString();
    const reason = problem === undefined ? undefined : messageOf(problem);
    const status = resourceStatusOf(resource, own, reason, now);
    if (isDeepStrictEqual({ ...resource.status, ...status }, resource.status)) return;
    const path = pathOf(kinds.functions, namespace, name, 'status');
    try {
      const written = await client.patch<KubeFunction>(path, 'merge-patch', { metadata: { resourceVersion }, status });
      functions.learn(written);
    } catch (error) {
      // Another gateway has told it, it says something else by now, or it is gone: the watch tells, and then it is our turn again.
      if (!isKubeError(error, 404, 409)) throw error;
    }
  }
}

function deploymentOf({ metadata: { namespace = '' }, spec }: KubeFunction): Deployment {
  const { name, image, handler, environment, constraints, secrets, labels, annotations, ...rest } = spec;
  const { limits, requests, readOnlyRootFilesystem } = rest;
  return {
    service: name,
    namespace,
    image,
    envProcess: handler === '' ? undefined : handler,
    envVars: environment ?? {},
    constraints: constraints ?? [],
    secrets: secrets ?? [],
    labels: labels ?? {},
    annotations: annotations ?? {},
    limits,
    requests,
    readOnlyRootFilesystem,
  };
}

function owned(
  { deployment, service }: FunctionObjects,
  { metadata: { name, uid = '' } }: KubeFunction,
): FunctionObjects {
  const { apiVersion, kind } = kinds.functions;
  // Without `blockOwnerDeletion`, which would take the right to change the finalizers of its owner.
  const ownerReferences = [{ apiVersion, kind, name, uid, controller: true }];
  return {
    deployment: { ...deployment, metadata: { ...deployment.metadata, ownerReferences } },
    service: { ...service, metadata: { ...service.metadata, ownerReferences } },
  };
}

function ownerOf({
  metadata: { ownerReferences = [] },
}: KubeObject): { readonly name: string; readonly uid: string } | undefined {
  return ownerReferences.find(({ kind, controller }) => kind === kinds.functions.kind && controller === true);
}
