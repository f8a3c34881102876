import type { Logger } from 'pino';
import { sleepUnless } from '../../../core/contracts/clock.ts';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { KubeClient } from './client.ts';
import type { KubernetesConfig } from './config.ts';
import { Credentials } from './credentials.ts';
import { type Informer, Objects } from './informer.ts';
import { type KubeNamespace, type KubeObject, type KubeProfile, kinds } from './kinds.ts';
import { Reflector, type ReflectorState, type Watched } from './reflector.ts';

/** Where functions are, unless the configuration says otherwise. */
const standardNamespaces = ['openfaas-fn'];

/** What is not being watched now, and why. */
export interface WatchTrouble {
  readonly plural: string;
  readonly namespace: string;
  readonly state: ReflectorState;
  readonly reason: string | undefined;
}

/** One kind: its cache and, for each namespace, what keeps that. */
class Watches<T extends KubeObject> {
  readonly objects: Objects<T>;
  readonly reflectors = new Map<string, Reflector<T>>();
  readonly watched: Omit<Watched<T>, 'namespace'>;

  constructor(watched: Omit<Watched<T>, 'namespace'>, wanted: () => Iterable<string>) {
    this.watched = watched;
    this.objects = new Objects<T>(wanted);
  }
}

/**
 * The cluster as it is known here: one informer for each kind, which watches each namespace of functions for itself, so
 * that a Role in those namespaces is all that the gateway needs. Nothing of it asks the API server when it is read.
 */
export class Cluster {
  readonly client: KubeClient;
  readonly #config: KubernetesConfig;
  readonly #host: ProviderHost;
  /** Those of functions, which are watched now. */
  readonly #namespaces = new Set<string>();
  readonly #everyNamespace: Watches<KubeObject>[] = [];
  readonly #namespaceWatch: Watches<KubeNamespace>;
  readonly #profileWatch: Watches<KubeProfile>;
  readonly #stateListeners = new Set<() => void>();
  readonly #logger: Logger;

  /** Those that have the label `faas_function`, whoever made them. */
  readonly deployments = this.#ofFunctions({ kind: kinds.deployments, labelSelector: 'faas_function' });
  readonly services = this.#ofFunctions({ kind: kinds.services });
  readonly endpointSlices = this.#ofFunctions({ kind: kinds.endpointSlices });
  readonly secrets = this.#ofFunctions({ kind: kinds.secrets, metadataOnly: true });
  /** Those secrets that images are pulled with: metadata does not tell them from the others. */
  readonly pullSecrets = this.#ofFunctions({
    kind: kinds.secrets,
    metadataOnly: true,
    fieldSelector: 'type=kubernetes.io/dockerconfigjson',
  });
  readonly autoscalers = this.#ofFunctions({ kind: kinds.autoscalers, optional: true });
  readonly scaledObjects = this.#ofFunctions({ kind: kinds.scaledObjects, optional: true });
  readonly functions = this.#ofFunctions({ kind: kinds.functions, optional: true });

  private constructor(client: KubeClient, config: KubernetesConfig, host: ProviderHost) {
    this.client = client;
    this.#config = config;
    this.#host = host;
    this.#logger = host.logger;
    const { namespaceSelector, profilesNamespace } = config;
    this.#namespaceWatch = new Watches({ kind: kinds.namespaces, labelSelector: namespaceSelector }, () => ['']);
    this.#profileWatch = new Watches({ kind: kinds.profiles, optional: true }, () => [profilesNamespace]);
  }

  /** Reads who the gateway is there; asks nobody yet. Rejects with `config.invalid`. */
  static async open(config: KubernetesConfig, host: ProviderHost): Promise<Cluster> {
    const credentials = await Credentials.load(config, host.baseFolder);
    return new Cluster(new KubeClient(credentials, config.requestTimeout), config, host);
  }

  /** The namespaces of functions, where a selector finds them; empty where the configuration names them. */
  get namespaces(): Informer<KubeNamespace> {
    return this.#namespaceWatch.objects;
  }

  get profiles(): Informer<KubeProfile> {
    return this.#profileWatch.objects;
  }

  /** Those of functions: as configured, or as the selector finds them now. */
  get namespaceNames(): ReadonlySet<string> {
    return this.#namespaces;
  }

  /** The configuration names the namespaces: none is made or removed here. */
  get hasFixedNamespaces(): boolean {
    return this.#config.namespaceSelector === undefined;
  }

  /** Everything has been listed once. */
  get isSynced(): boolean {
    return this.#all().every(({ objects }) => objects.isSynced);
  }

  /** Begins to watch. Resolves with whether all has been listed, `startTimeout` later at the latest. */
  async start(): Promise<boolean> {
    const { namespaces = standardNamespaces, profilesNamespace, startTimeout } = this.#config;
    this.#reflect(this.#profileWatch, profilesNamespace);
    if (this.hasFixedNamespaces) for (const name of namespaces) this.#watch(name);
    else this.#followNamespaces();
    const { clock, signal } = this.#host;
    const deadline = clock.monotonic() + startTimeout;
    while (!this.isSynced && clock.monotonic() < deadline && !signal.aborted) {
      await sleepUnless(deadline - clock.monotonic(), signal, (wake) => this.onState(wake));
    }
    return this.isSynced;
  }

  async stop(): Promise<void> {
    for (const { reflectors } of this.#all()) for (const reflector of reflectors.values()) reflector.stop();
    await this.client.close();
  }

  /** What is not watched now though it should be. */
  troubles(): WatchTrouble[] {
    return this.#all().flatMap(({ reflectors, watched: { kind } }) =>
      [...reflectors]
        .filter(([, { state }]) => state === 'away' || state === 'starting')
        .map(([namespace, { state, lastError }]) => ({ plural: kind.plural, namespace, state, reason: lastError })),
    );
  }

  /** Calls `listener` when a watch breaks or is back; returns what ends that. */
  onState(listener: () => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  /** Calls `listener` for each secret that comes; returns what ends that. */
  onNewSecret(listener: (namespace: string, name: string) => void): () => void {
    const ends = [this.secrets, this.pullSecrets].map((informer) =>
      informer.onEvent(({ type, object: { metadata } }) => {
        if (type === 'added') listener(metadata.namespace ?? '', metadata.name);
      }),
    );
    return () => {
      for (const end of ends) end();
    };
  }

  #all(): Watches<KubeObject>[] {
    const own = [this.#profileWatch, ...(this.hasFixedNamespaces ? [] : [this.#namespaceWatch])];
    return [...(own as unknown as Watches<KubeObject>[]), ...this.#everyNamespace];
  }

  #ofFunctions<T extends KubeObject>(watched: Omit<Watched<T>, 'namespace'>): Informer<T> {
    const watches = new Watches<T>(watched, () => this.#namespaces);
    this.#everyNamespace.push(watches as unknown as Watches<KubeObject>);
    return watches.objects;
  }

  #followNamespaces(): void {
    this.namespaces.onEvent(({ type, object: { metadata } }) => {
      if (type === 'added') this.#watch(metadata.name);
      else if (type === 'removed') this.#unwatch(metadata.name);
    });
    this.#reflect(this.#namespaceWatch, '');
  }

  #watch(namespace: string): void {
    this.#namespaces.add(namespace);
    for (const watches of this.#everyNamespace) this.#reflect(watches, namespace);
  }

  #unwatch(namespace: string): void {
    this.#namespaces.delete(namespace);
    for (const { reflectors, objects } of this.#everyNamespace) {
      reflectors.get(namespace)?.stop();
      reflectors.delete(namespace);
      objects.forget(namespace);
    }
  }

  #reflect<T extends KubeObject>({ objects, reflectors, watched }: Watches<T>, namespace: string): void {
    const reflector = new Reflector(this.client, { ...watched, namespace }, objects, {
      watchMs: this.#config.watchTimeout,
      logger: this.#logger,
      onState: () => {
        for (const listener of this.#stateListeners) listener();
      },
    });
    reflectors.set(namespace, reflector);
    reflector.run().catch((error: unknown) => this.#host.fail(error));
  }
}
