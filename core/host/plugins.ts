import { OwnRoutes } from '../api/route-table.ts';
import type { Config, ConnectorConfig, PluginConfig } from '../config/schema.ts';
import type { Connection } from '../contracts/connection.ts';
import type { Connector } from '../contracts/connector.ts';
import type {
  ConnectionDefinition,
  ConnectorDefinition,
  ConnectorHost,
  DeployedFunctions,
  Invocations,
  PluginDefinition,
  PluginType,
  ProviderDefinition,
  QueueDefinition,
  StoreDefinition,
} from '../contracts/definition.ts';
import { type ErrorCode, MillraceError } from '../contracts/errors.ts';
import type { FunctionStatus, Provider } from '../contracts/provider.ts';
import type { Queue } from '../contracts/queue.ts';
import type { Routes } from '../contracts/route.ts';
import type { Store } from '../contracts/store.ts';
import type { Catalog } from '../functions/catalog.ts';
import type { Intake } from '../intake/intake.ts';
import { type FunctionLine, FunctionLogs } from '../functions/logs.ts';
import type { Meter } from '../observe/meter.ts';
import { sleep } from '../contracts/clock.ts';
import { CreditPool } from '../delivery/credit.ts';
import { blamed, forgetGauges, PluginInstance, type SharedParts } from './instance.ts';
import { type UsedQueue, usedQueue } from './used-queue.ts';

/** A configured connection that has been dialled. */
export interface RunningConnection {
  readonly instance: PluginInstance;
  readonly connection: Connection;
}

/** A configured connector that has started. */
export interface RunningConnector {
  readonly instance: PluginInstance;
  readonly connector: Connector;
  /** Between it and the pipeline, where it brings messages. */
  readonly intake: Intake | undefined;
  /** Its routes, if it has any. */
  readonly routes: OwnRoutes | undefined;
  readonly credit: CreditPool;
  /** Deliveries that were emitted and are not settled yet; never more than credits were taken. */
  inFlight: number;
  settled: number;
}

/** Refusals that are meant for whoever starts the gateway: going on would break a promise. */
const refusals: ReadonlySet<ErrorCode> = new Set([
  'config.invalid',
  'connection.unavailable',
  'queue.locked',
  'queue.format',
]);

/** So long is a broker waited for that takes connections and no more yet. */
const startPatienceMs = 60_000;
const startPauseMs = { first: 250, last: 5000 } as const;

/**
 * Every configured plugin, made and started in the order in which they need each other. One that fails is marked so
 * and left out; the others run on.
 */
export class Plugins {
  instances: readonly PluginInstance[] = [];
  readonly connections = new Map<string, RunningConnection>();
  readonly stores = new Map<string, Store>();
  readonly queues = new Map<string, UsedQueue>();
  readonly providers = new Map<string, Provider>();
  connectors: readonly RunningConnector[] = [];
  /** What functions wrote lately. */
  readonly logs = new FunctionLogs();
  readonly #reported = new WeakMap<Provider, Map<string, FunctionStatus>>();
  readonly #shared: SharedParts;
  readonly #config: Config;
  readonly #catalog: Catalog;
  readonly #meter: Meter;
  readonly #functions: DeployedFunctions = {
    list: () => this.#catalog.list().map(({ spec }) => spec),
    onChange: (listener) => {
      const following = this.#catalog.changes.subscribe(listener);
      return () => following.unsubscribe();
    },
  };
  #stops: readonly { readonly instance: PluginInstance; readonly stop: (deadlineMs: number) => Promise<void> }[] = [];

  constructor(
    shared: SharedParts,
    config: Config,
    { catalog, meter }: { readonly catalog: Catalog; readonly meter: Meter },
  ) {
    this.#shared = shared;
    this.#config = config;
    this.#catalog = catalog;
    this.#meter = meter;
    catalog.changes.subscribe(({ kind, entry }) => {
      if (kind === 'removed') this.logs.forget(entry.name);
    });
  }

  /**
   * Dials all at once: a broker that is away is waited for, and so are not the others after it. Whatever refuses the
   * start is told together.
   */
  async startConnections(
    plugins: Iterable<PluginConfig> = this.#config.connections.values(),
    into: Map<string, RunningConnection> = this.connections,
  ): Promise<void> {
    const all = [...plugins];
    const dialled = await Promise.allSettled(
      all.map(async (plugin) => {
        const { definition, config, name } = plugin;
        const instance = this.#add('connection', plugin);
        await this.#start(
          instance,
          definition,
          (made) => (made as ConnectionDefinition).create(config, instance.host),
          { set: (_name, connection: Connection) => into.set(name, { instance, connection }) },
        );
      }),
    );
    const refused = all.flatMap(({ name }, index) => {
      const one = dialled[index];
      return one?.status === 'rejected' ? [{ name, error: one.reason as MillraceError }] : [];
    });
    const [first] = refused;
    if (!first) return;
    const messages = refused.map(({ name, error }) => `connection "${name}": ${error.message}`);
    throw new MillraceError(first.error.code, messages.join('; '), { cause: first.error });
  }

  /** Gives up what waits for a broker at its start, so that a stop need not. */
  stopDialling(): void {
    for (const instance of this.instances) {
      const waits = instance.type === 'connection' || instance.isOverConnection;
      if (waits && instance.state === 'created') instance.abort();
    }
  }

  async startStores(plugins: Iterable<PluginConfig> = this.#config.stores.values()): Promise<void> {
    for (const plugin of plugins) {
      const { definition, config } = plugin;
      const instance = this.#add('store', plugin);
      await this.#start(
        instance,
        definition,
        (made) => (made as StoreDefinition).create(config, instance.host),
        this.stores,
      );
    }
  }

  async startQueues(plugins: Iterable<PluginConfig> = this.#config.queues.values()): Promise<void> {
    for (const plugin of plugins) {
      const { definition, config } = plugin;
      const instance = this.#add('queue', plugin);
      await this.#start(instance, definition, (made) => (made as QueueDefinition).create(config, instance.host), {
        set: (name, queue: Queue) => this.queues.set(name, usedQueue(queue)),
      });
    }
  }

  async startProviders(
    plugins: Iterable<PluginConfig> = this.#config.providers.values(),
    into: Map<string, Provider> = this.providers,
  ): Promise<void> {
    for (const plugin of plugins) {
      const { definition, config } = plugin;
      const instance = this.#add('provider', plugin);
      const { logger } = this.#shared;
      const reported = new Map<string, FunctionStatus>();
      let provider: Provider | undefined;
      const host = {
        ...instance.host,
        report: (status: FunctionStatus) => {
          reported.set(status.name, status);
          const entry = this.#catalog.get(status.name);
          // While a function moves to another provider, both know it.
          if (!entry || !provider || entry.provider === provider) this.#catalog.report(status);
        },
        functionLog: (line: Omit<FunctionLine, 'at'>) => {
          this.logs.append({ ...line, at: this.#shared.clock.now() });
          logger.info(line, 'function log');
        },
      };
      await this.#start(
        instance,
        definition,
        (made) => {
          provider = contained((made as ProviderDefinition).create(config, host), instance);
          this.#reported.set(provider, reported);
          return provider;
        },
        into,
      );
    }
  }

  /** What the provider said last about one of its functions. */
  reported(provider: Provider, name: string): FunctionStatus | undefined {
    return this.#reported.get(provider)?.get(name);
  }

  /**
   * Undefined when it failed, and is marked so. Where it has routes, they are not answered before the server is told to,
   * and it takes no messages before it is subscribed to.
   */
  async startConnector(
    connectorConfig: ConnectorConfig,
    invocations: Invocations,
    product: string,
  ): Promise<RunningConnector | undefined> {
    const { definition, config, name, credit } = connectorConfig;
    const instance = this.#add('connector', connectorConfig);
    const intake = await this.#intakeOf(connectorConfig, instance);
    let routes: OwnRoutes | undefined;
    const http = (): OwnRoutes => (routes ??= new OwnRoutes(`connector "${name}"`));
    const host = this.#connectorHost(instance, intake, { http, invocations: () => invocations, product });
    let connector: Connector | undefined;
    const started = await instance.step(async () => {
      connector = await this.#begun(instance, () => (definition as ConnectorDefinition).create(config, host));
    });
    if (!started || !connector) return undefined;
    instance.started();
    const made = { instance, connector, intake, routes, credit: new CreditPool(credit), inFlight: 0, settled: 0 };
    this.connectors = [...this.connectors, made];
    return made;
  }

  /** What a start of it would make at its broker, by a connector that is not started; undefined when it failed. */
  async checkConnector(connectorConfig: ConnectorConfig): Promise<readonly string[] | undefined> {
    const { definition, config } = connectorConfig;
    const instance = this.#add('connector', connectorConfig);
    const absent = (): never => {
      throw new MillraceError('internal', 'asked for what only a connector that has started is given');
    };
    const host = this.#connectorHost(instance, undefined, { http: absent, invocations: absent, product: '' });
    let missing: readonly string[] | undefined;
    await instance.step(async () => {
      missing = (await (definition as ConnectorDefinition).create(config, host).check?.()) ?? [];
    });
    return missing;
  }

  /** Stops a connector that takes nothing any more, and forgets it. */
  async retireConnector(running: RunningConnector, deadlineMs: number): Promise<void> {
    await this.dropConnector(running, deadlineMs);
    this.forget(running.instance);
  }

  /** Stops one that cannot go on; it stays told about. */
  async dropConnector(running: RunningConnector, deadlineMs: number): Promise<void> {
    const { instance, connector } = running;
    this.connectors = this.connectors.filter((other) => other !== running);
    await instance.stop((ms) => connector.stop(ms), deadlineMs);
  }

  /** Stops a part that is not a connector, and forgets it. */
  async retire(instance: PluginInstance, deadlineMs: number): Promise<void> {
    const mine = this.#stops.filter((each) => each.instance === instance);
    this.#stops = this.#stops.filter((each) => each.instance !== instance);
    for (const { stop } of mine) await instance.stop(stop, deadlineMs);
    this.forget(instance);
  }

  forget(instance: PluginInstance): void {
    this.instances = this.instances.filter((other) => other !== instance);
  }

  /** One that is not configured any more has no lag. What was counted stays, as counters must. */
  forgetMeasures(type: PluginType, name: string): void {
    forgetGauges(this.#shared.registry, type, name);
  }

  /** Stops what was started, last first. */
  async stop(deadlineMs: number): Promise<void> {
    for (const { instance, stop } of this.#stops.toReversed()) await instance.stop(stop, deadlineMs);
  }

  failed(): readonly PluginInstance[] {
    return this.instances.filter(({ state }) => state === 'failed');
  }

  #connectorHost(
    instance: PluginInstance,
    intake: Intake | undefined,
    given: { readonly http: () => Routes; readonly invocations: () => Invocations; readonly product: string },
  ): ConnectorHost {
    const { limits } = this.#config.gateway;
    return {
      ...instance.host,
      get http() {
        return given.http();
      },
      get invocations() {
        return given.invocations();
      },
      limits: { body: limits.body, asyncBody: limits.asyncBody },
      product: given.product,
      functions: this.#functions,
      store: (wanted = 'default') => this.store(wanted),
      message: (message, settlement) => {
        if (!intake) throw new MillraceError('internal', 'made a message, and its definition has no "messages"');
        return intake.deliveryOf(message, settlement);
      },
    };
  }

  async #intakeOf(config: ConnectorConfig, { host }: PluginInstance): Promise<Intake | undefined> {
    const { definition, messages, name } = config;
    const traits = definition.type === 'connector' ? definition.messages : undefined;
    if (!messages || !traits) return undefined;
    const { Intake } = await import('../intake/intake.ts');
    const { clock } = this.#shared;
    const { logger, metrics } = host;
    const settleFailed = (): void => this.#meter.settleFailed(name);
    return new Intake(config, messages, traits, { catalog: this.#catalog, clock, logger, metrics, settleFailed });
  }

  /** @throws MillraceError `store.unavailable` when it does not run. */
  store(name: string): Store {
    const store = this.stores.get(name);
    if (!store) throw new MillraceError('store.unavailable', `store "${name}" is not running, see /readyz`);
    return store;
  }

  #connection(name: string): Connection {
    const running = this.connections.get(name);
    if (!running) throw new MillraceError('plugin.failed', `connection "${name}" is not running, see /readyz`);
    return running.connection;
  }

  #add(type: PluginType, { kind, name, connection }: PluginConfig): PluginInstance {
    const find = connection === undefined ? undefined : () => this.#connection(connection);
    const instance = new PluginInstance(type, kind, name, this.#shared, find);
    this.instances = [...this.instances, instance];
    return instance;
  }

  async #start<Plugin extends Startable>(
    instance: PluginInstance,
    definition: PluginDefinition,
    create: (definition: PluginDefinition) => Plugin,
    into: { set(name: string, plugin: Plugin): unknown },
  ): Promise<void> {
    let refusal: MillraceError | undefined;
    await instance.step(async () => {
      let plugin: Plugin;
      try {
        plugin = await this.#begun(instance, () => create(definition));
      } catch (error) {
        // One that a stray error has failed meanwhile was told to give up: that is no word of its broker's.
        const hasFailed = instance.state === 'failed';
        if (error instanceof MillraceError && !hasFailed) {
          // What works over a broker has waited for it in vain; a supervisor starts the gateway again.
          if (refusals.has(error.code) || mayPass(instance, error)) refusal = error;
        }
        throw error;
      }
      instance.started();
      into.set(instance.name, plugin);
      this.#stops = [...this.#stops, { instance, stop: (deadlineMs) => plugin.stop(deadlineMs) }];
    });
    if (refusal) throw refusal;
  }

  /**
   * Makes and starts it. A broker that takes connections may not be whole yet, just after its own start: what works over
   * one and finds it away is made anew until it is there, for a minute at most.
   */
  async #begun<Plugin extends Startable>(instance: PluginInstance, make: () => Plugin): Promise<Plugin> {
    const { logger } = this.#shared;
    const { signal } = instance.host;
    const deadline = performance.now() + startPatienceMs;
    for (let pauseMs: number = startPauseMs.first; ; pauseMs = Math.min(2 * pauseMs, startPauseMs.last)) {
      const plugin = make();
      try {
        await plugin.start();
        return plugin;
      } catch (error) {
        const isLast = performance.now() + pauseMs > deadline;
        if (isLast || instance.state === 'failed' || !mayPass(instance, error)) throw error;
        logger.warn(
          { err: error, plugin: instance.name, type: instance.type },
          'a plugin cannot start yet; trying again',
        );
        if (!(await sleep(pauseMs, signal))) throw error;
      }
    }
  }
}

interface Startable {
  start(): Promise<void>;
  stop(deadlineMs: number): Promise<void>;
}

/**
 * Whether a start that went wrong may go well later: one over a broker, unless no waiting mends it, which is said in our own
 * words and names no time to ask again after.
 */
function mayPass({ isOverConnection }: PluginInstance, error: unknown): boolean {
  return isOverConnection && (!(error instanceof MillraceError) || error.retryAfterSeconds !== undefined);
}

/** The provider, with its code fenced: a function on the main thread may throw long after its call has ended. */
function contained(provider: Provider, instance: PluginInstance): Provider {
  return {
    start: () => provider.start(),
    deploy: (spec) => provider.deploy(spec),
    remove: (name) => provider.remove(name),
    invoke: (entry, call) => instance.within(() => provider.invoke(entry, call)),
    ...(provider.scale && { scale: (name, replicas) => provider.scale?.(name, replicas) ?? Promise.resolve() }),
    ...(provider.cpuMs && { cpuMs: (name) => provider.cpuMs?.(name) }),
    ...(provider.deployments && { deployments: provider.deployments }),
    ...(provider.secrets && { secrets: provider.secrets }),
    ...(provider.workQueues && { workQueues: () => provider.workQueues?.() ?? [] }),
    stop: (deadlineMs) => provider.stop(deadlineMs),
  };
}

/**
 * What nobody caught: a plugin's is the plugin's failure, a function's is its own affair; anything else is a bug of
 * Millrace's, and the process must not go on in a state that nobody knows. Returns whether it may go on.
 */
export function onStray(error: unknown, logger: SharedParts['logger']): boolean {
  const instance = blamed();
  if (!instance) return false;
  if (instance.type === 'provider' && instance.state === 'running') {
    logger.error({ err: error, provider: instance.name }, 'a function threw outside of its call');
    return true;
  }
  instance.fail(error);
  return true;
}
