import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { messageOf, missingFunction } from '../../../core/contracts/errors.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionStatus } from '../../../core/contracts/provider.ts';
import { failed, stopping } from '../../../core/kit/outcome.ts';
import { Attempt } from '../../../core/kit/upstream/attempt.ts';
import { Endings } from '../../../core/kit/upstream/endings.ts';
import { plainConnector } from '../../../core/kit/upstream/plain-connector.ts';
import type { Cluster } from './cluster.ts';
import type { KubernetesConfig } from './config.ts';
import type { KubeDeployment } from './kinds.ts';
import { functionLabel } from './objects/words.ts';
import type { Pod, PodSettings } from './pod.ts';
import { Pods } from './pods.ts';
import { isAsNew } from './informer.ts';
import { ScaleOwners, writeScale } from './scaling.ts';
import { Slices } from './slices.ts';
import { isSameStatus, maxInflightOf, statusOf } from './status.ts';

/** How often it is looked which connections are idle, ms: they are closed after once to twice as long. */
const idleMs = 15_000;

/** What is read of the cluster here. */
export type ClusterView = Pick<Cluster, 'deployments' | 'endpointSlices' | 'autoscalers' | 'scaledObjects' | 'client'>;

/** What was asked for, and is not seen in the cluster yet. */
interface Asked {
  readonly replicas: number;
  /** Of the Deployment that has it; undefined until it is written. */
  version?: string;
}

interface Found {
  readonly name: string;
  readonly pods: Pods;
  deployment: KubeDeployment;
  asked: Asked | undefined;
  told: FunctionStatus | undefined;
  /** Writes of its scale, one after another. */
  writing: Promise<unknown>;
}

/** The functions in the cluster as they run: where, how many of them, and calls to them. */
export class Functions {
  readonly #cluster: ClusterView;
  readonly #config: KubernetesConfig;
  readonly #host: ProviderHost;
  readonly #podSettings: PodSettings;
  readonly #found = new Map<string, Found>();
  /** Those that get calls. */
  readonly #bound = new Set<string>();
  /** Of functions that are gone, while calls of theirs go on. */
  readonly #closing = new Endings();
  readonly #connected = new Set<Pod>();
  #slices: Slices | undefined;
  #owners: ScaleOwners | undefined;
  #endFollowing: (() => void) | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #isStopping = false;

  constructor(cluster: ClusterView, config: KubernetesConfig, host: ProviderHost) {
    this.#cluster = cluster;
    this.#config = config;
    this.#host = host;
    const { connections, connectTimeout, keepAlive, maxHeaders, via } = config;
    this.#podSettings = {
      connect: plainConnector(connectTimeout),
      clock: host.clock,
      connections: via === 'pods' ? connections : undefined,
      keepAlive,
      maxHeaders,
      connected: this.#connected,
    };
  }

  /** Takes what is known of the cluster, and whatever comes of it. */
  start(): void {
    const { deployments, endpointSlices } = this.#cluster;
    const onChange = (namespace: string, name: string): void => this.#changed(namespace, name);
    this.#slices = new Slices(endpointSlices, (namespace, service) => this.#moved(namespace, service));
    this.#owners = new ScaleOwners(this.#cluster, onChange);
    for (const deployment of deployments.list()) this.#put(deployment);
    this.#endFollowing = deployments.onEvent(({ type, object }) => {
      if (type === 'removed') this.#remove(object);
      else this.#put(object);
    });
    this.#idleTimer = setInterval(() => {
      for (const pod of this.#connected) pod.closeIfIdle();
    }, idleMs);
  }

  bind(name: string): void {
    this.#bound.add(name);
    const found = this.#found.get(name);
    if (!found) return;
    // Core has forgotten what was told before, if it had been removed.
    found.told = undefined;
    this.#report(found);
  }

  /** Calls under way may end. */
  unbind(name: string): void {
    this.#bound.delete(name);
  }

  invoke(name: string, call: Call): Promise<Outcome> {
    if (this.#isStopping) return Promise.resolve(failed('overload', stopping, 0));
    const found = this.#found.get(name);
    if (!found || !this.#bound.has(name)) {
      return Promise.resolve(failed('missing', missingFunction(name), 0));
    }
    return new Promise((settle) => {
      new Attempt(call, found.pods, this.#host.clock, settle).begin();
    });
  }

  /** Resolves once it is written; `cold` and `scaling` are told at once, so that no call slips in between. */
  async scale(name: string, replicas: number): Promise<void> {
    const found = this.#found.get(name);
    if (!found) throw missingFunction(name);
    const isFromZero = wantedOf(found) === 0;
    const asked: Asked = { replicas };
    found.asked = asked;
    this.#report(found);
    const written = found.writing.then(async () => {
      const { metadata, spec } = found.deployment;
      const version = spec?.replicas === 0 ? metadata.resourceVersion : undefined;
      const { name: service, namespace = '' } = metadata;
      return writeScale(this.#cluster.client, { namespace, name: service, replicas, isFromZero, version });
    });
    found.writing = written.catch(() => undefined); // Whoever asked for it is told.
    try {
      asked.version = await written;
    } catch (error) {
      if (found.asked === asked) found.asked = undefined;
      throw error;
    } finally {
      this.#settle(found);
      this.#report(found);
    }
  }

  /** Lets calls end until the deadline, and breaks off the others. */
  async stop(deadlineMs: number): Promise<void> {
    this.#isStopping = true;
    clearInterval(this.#idleTimer);
    this.#endFollowing?.();
    this.#slices?.stop();
    this.#owners?.stop();
    for (const { pods } of this.#found.values()) this.#closing.add(pods);
    this.#found.clear();
    await this.#closing.over(deadlineMs);
  }

  #put(deployment: KubeDeployment): void {
    const { name: service, namespace = '', labels } = deployment.metadata;
    if (labels?.[functionLabel] !== service) return this.#remove(deployment);
    const name = `${service}.${namespace}`;
    const known = this.#found.get(name);
    const found = known ?? this.#make(name, deployment);
    found.deployment = deployment;
    if (!known) {
      this.#found.set(name, found);
      found.pods.update(this.#slices?.of(namespace, service) ?? []);
    }
    this.#settle(found);
    this.#report(found);
  }

  #make(name: string, deployment: KubeDeployment): Found {
    const { name: service, namespace = '' } = deployment.metadata;
    const { via, serviceUrl } = this.#config;
    const url = serviceUrl.replaceAll('{name}', service).replaceAll('{namespace}', namespace);
    const pods = new Pods(
      this.#podSettings,
      (pod, error) => this.#reached(name, pod, error),
      via === 'service' ? url : undefined,
    );
    return { name, pods, deployment, asked: undefined, told: undefined, writing: Promise.resolve() };
  }

  #remove({ metadata: { name, namespace = '' } }: KubeDeployment): void {
    const found = this.#found.get(`${name}.${namespace}`);
    if (!found) return;
    this.#found.delete(found.name);
    this.#closing.add(found.pods);
  }

  #changed(namespace: string, service: string): void {
    const found = this.#found.get(`${service}.${namespace}`);
    if (found) this.#report(found);
  }

  #moved(namespace: string, service: string): void {
    const found = this.#found.get(`${service}.${namespace}`);
    if (!found) return;
    found.pods.update(this.#slices?.of(namespace, service) ?? []);
    this.#report(found);
  }

  /** What was asked for is forgotten once the Deployment is as new as its writing. */
  #settle(found: Found): void {
    const { asked, deployment } = found;
    if (asked?.version !== undefined && isAsNew(deployment.metadata.resourceVersion, asked.version)) {
      found.asked = undefined;
    }
  }

  #reached(name: string, { origin }: Pod, error?: Error): void {
    const { logger } = this.#host;
    if (error) logger.warn({ function: name, pod: origin, reason: messageOf(error) }, 'a pod gets no calls any more');
    else logger.info({ function: name, pod: origin }, 'a pod gets calls');
    const found = this.#found.get(name);
    if (found) this.#report(found);
  }

  /** Told only when it has changed. */
  #report(found: Found): void {
    const { deployment, pods, name } = found;
    const { name: service, namespace = '' } = deployment.metadata;
    const { connections } = this.#config;
    const status = statusOf(name, deployment, {
      wanted: wantedOf(found),
      ready: pods.ready,
      available: pods.available,
      perPod: Math.min(connections, maxInflightOf(deployment) ?? connections),
      scaledBy: this.#owners?.of(namespace, service),
    });
    if (found.told && isSameStatus(found.told, status)) return;
    found.told = status;
    this.#host.report(status);
  }
}

/** A Deployment that does not say how many has one. */
function wantedOf({ asked, deployment }: Pick<Found, 'asked' | 'deployment'>): number {
  return asked?.replicas ?? deployment.spec?.replicas ?? 1;
}
