import type { ProviderHost } from '../../../core/contracts/definition.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionEntry, FunctionSpec, Provider, WorkQueueStats } from '../../../core/contracts/provider.ts';
import { failed, stopping } from '../../../core/kit/outcome.ts';
import { Cluster } from './cluster.ts';
import type { KubernetesConfig } from './config.ts';
import { DeclaredFunctions } from './declared.ts';
import { FunctionResources } from './function-resource.ts';
import { Functions } from './functions.ts';
import { ClusterKeeper } from './keeper.ts';
import { notStarted, toldOf } from './kube-error.ts';
import { ClusterSecrets } from './secrets.ts';
import { standardWorkQueue, WorkQueue } from './work-queue.ts';

/** What there is once it has started. */
interface Running {
  readonly functions: Functions;
  readonly declared: DeclaredFunctions;
  readonly resources: FunctionResources | undefined;
}

/** Functions that are Deployments of a Kubernetes cluster, whoever made them there. */
export class KubernetesProvider implements Provider {
  readonly deployments = new ClusterKeeper();
  readonly secrets = new ClusterSecrets();
  readonly #config: KubernetesConfig;
  readonly #host: ProviderHost;
  readonly #queue: WorkQueue;
  #cluster: Cluster | undefined;
  #running: Running | undefined;

  constructor(config: KubernetesConfig, host: ProviderHost) {
    this.#config = config;
    this.#host = host;
    this.#queue = new WorkQueue('functions', (name) => this.#reconcile(name), standardWorkQueue, host);
  }

  /** With the API server away it starts all the same, and finds its functions once that is back. */
  async start(): Promise<void> {
    const [config, host, queue] = [this.#config, this.#host, this.#queue];
    const cluster = await Cluster.open(config, host);
    this.#cluster = cluster;
    const unwatched = host.metrics.gauge('unwatched', 'Watches of the API server that are broken now.');
    cluster.onState(() => unwatched.set(cluster.troubles().length));
    if (!(await cluster.start())) {
      const reason = cluster.troubles().find((trouble) => trouble.reason !== undefined)?.reason;
      host.logger.warn({ reason }, 'what is in the cluster is not known yet');
    }
    const functions = new Functions(cluster, config, host);
    const declared = new DeclaredFunctions({ cluster, config, host, queue });
    const resources = config.functionResources ? new FunctionResources(cluster, config, host) : undefined;
    this.#running = { functions, declared, resources };
    this.deployments.open({ cluster, config, queue });
    this.secrets.open(cluster);
    functions.start();
    resources?.start();
  }

  async deploy(spec: FunctionSpec): Promise<void> {
    const { declared, functions } = this.#need();
    // One that stood in the configuration, and is only found by now, is not to be there any more.
    if (spec.deployment) declared.remove(spec.name);
    else declared.put(spec);
    functions.bind(spec.name);
  }

  async remove(name: string): Promise<void> {
    const { declared, functions } = this.#need();
    functions.unbind(name);
    declared.remove(name);
  }

  invoke({ name }: FunctionEntry, call: Call): Promise<Outcome> {
    return this.#running?.functions.invoke(name, call) ?? Promise.resolve(failed('overload', stopping, 0));
  }

  async scale(name: string, replicas: number): Promise<void> {
    try {
      await this.#need().functions.scale(name, replicas);
    } catch (error) {
      throw toldOf(error, `function ${name}`);
    }
  }

  workQueues(): readonly WorkQueueStats[] {
    const resources = this.#running?.resources;
    return [this.#queue.stats, ...(resources ? [resources.stats] : [])];
  }

  async stop(deadlineMs: number): Promise<void> {
    const running = this.#running;
    running?.declared.stop();
    await Promise.all([
      this.#queue.stop(deadlineMs),
      running?.resources?.stop(deadlineMs),
      running?.functions.stop(deadlineMs),
    ]);
    this.deployments.close();
    await this.#cluster?.stop();
  }

  async #reconcile(name: string): Promise<void> {
    await this.#running?.declared.reconcile(name);
  }

  #need(): Running {
    if (this.#running) return this.#running;
    throw notStarted();
  }
}
