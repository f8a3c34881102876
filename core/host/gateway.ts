import type { Server } from 'node:http';
import { listen, urlOf } from '../api/listener.ts';
import type { ConnectionEnd } from '../api/caller-connections.ts';
import { PublicServer } from '../api/server.ts';
import { type Changes, changesOf, summaryOf } from '../config/changes.ts';
import type { Loaded } from '../config/load.ts';
import type { Problem } from '../config/problem.ts';
import { processesOf, shareOf } from '../config/processes.ts';
import { withoutSecrets } from '../config/redact.ts';
import type { Config, ConnectorConfig, FunctionConfig } from '../config/schema.ts';
import { sleep, within } from '../contracts/clock.ts';
import type { Invocations } from '../contracts/definition.ts';
import { type ErrorCode, messageOf, MillraceError } from '../contracts/errors.ts';
import {
  type CallbackFunction,
  callbackFunctionOf,
  createCallbackSender,
  type CallbackSender,
} from '../delivery/callback.ts';
import type { CreditPool } from '../delivery/credit.ts';
import { planted } from '../delivery/failpoint.ts';
import type { Fronts } from '../fronts/fronts.ts';
import { Scaler } from '../functions/scaler.ts';
import { connectionMetrics } from '../observe/connection-metrics.ts';
import { callerMetrics } from '../observe/caller-metrics.ts';
import { functionMetrics, requestMetrics } from '../observe/function-metrics.ts';
import { queueMetrics } from '../observe/queue-metrics.ts';
import { RecentInvocations } from '../observe/recent-invocations.ts';
import { reloadMetrics, type ReloadOutcome } from '../observe/reload-metrics.ts';
import { pipeline } from '../pipeline/pipeline.ts';
import { product } from '../version.ts';
import { GatewayCallers } from './callers.ts';
import type { DependencyContainer } from './container.ts';
import { Deployments } from './deployments.ts';
import { Exchange } from './exchange.ts';
import { Functions } from './functions.ts';
import { invocationsOf } from './invocations.ts';
import { connectionsOf, managementServices } from './management-services.ts';
import { managementServer } from './management-server.ts';
import { pipelineServices } from './pipeline-services.ts';
import { Plugins } from './plugins.ts';
import { Sources } from './sources.ts';
import {
  catalogToken,
  clockToken,
  configToken,
  deadlinesToken,
  eventsToken,
  loggerToken,
  meterToken,
  metricsToken,
  tracingToken,
} from './tokens.ts';

/** What a plugin has at least to hand back what it holds, however late it is. */
const stopMs = 2000;

/** For the chaos kit only: a stop breaks off the calls that are in flight. */
const breaksOff = planted('stop-breaks-off');

/** What came of a reload. Unless it is `ok`, nothing has changed, and `reasons` say why. */
export interface ReloadResult {
  readonly result: ReloadOutcome;
  readonly reasons: readonly string[];
  /** What it changes, or would have, in one line. */
  readonly changes: string;
}

/**
 * One running gateway. Started from the bottom up (connections, stores, queues, providers, functions, connectors,
 * listeners) and stopped from the top down, so that nothing is ever given to a part that is not there.
 */
export class Gateway {
  /** What is in force: what the files say, and the functions that were deployed through the API. */
  #config: Config;
  /** What the files say. */
  #declared: Config;
  /** What is to be said of the files. */
  #findings: readonly Problem[];
  readonly #deployments: Deployments;
  readonly #scaler: Scaler;
  readonly #parts;
  readonly #plugins: Plugins;
  readonly #baseFolder: string;
  readonly #recent = new RecentInvocations();
  readonly #sources: Sources;
  readonly #functions: Functions;
  readonly #stopAsked = new AbortController();
  readonly #reloads: (result: ReloadOutcome) => void;
  readonly #callers: GatewayCallers;
  #callbacks: CallbackSender;
  /** Senders with other settings, which may have something under way. */
  readonly #formerCallbacks: CallbackSender[] = [];
  #started: Promise<void> | undefined;
  /** The last of the reloads and deployments that were asked for. */
  #exchanging: Promise<unknown> = Promise.resolve();
  #server: PublicServer | undefined;
  /** The other processes that answer in front of this one; undefined where there are none. */
  #fronts: Fronts | undefined;
  #management: Server | undefined;
  #state: 'starting' | 'ready' | 'leaving' | 'stopping' | 'stopped' = 'starting';

  /** `findings`: what reading the configuration found to say of it. */
  constructor(container: DependencyContainer, baseFolder: string, findings: readonly Problem[] = []) {
    this.#baseFolder = baseFolder;
    this.#declared = container.resolve(configToken);
    this.#findings = findings;
    this.#config = this.#declared;
    this.#parts = {
      catalog: container.resolve(catalogToken),
      clock: container.resolve(clockToken),
      deadlines: container.resolve(deadlinesToken),
      events: container.resolve(eventsToken),
      logger: container.resolve(loggerToken),
      meter: container.resolve(meterToken),
      metrics: container.resolve(metricsToken),
      tracing: container.resolve(tracingToken),
    };
    const { catalog, clock, events, logger, metrics } = this.#parts;
    const onFailure = (instance: { name: string; type: string }, error: unknown): void => {
      logger.error({ err: error, plugin: instance.name, type: instance.type }, 'a plugin failed');
      events.emit('plugin.failed', { plugin: instance.name, error: withoutSecrets(String(error), this.#config) });
    };
    this.#plugins = new Plugins({ logger, clock, registry: metrics, baseFolder, onFailure }, this.#config, this.#parts);
    const resultBody = this.#config.gateway.limits.body;
    this.#sources = new Sources({ ...this.#parts, recent: this.#recent, resultBody });
    this.#functions = new Functions(catalog, this.#plugins, logger);
    this.#callers = new GatewayCallers(this.#config.gateway, catalog, this.#parts);
    this.#callbacks = this.#callbackSender();
    this.#reloads = reloadMetrics(metrics, clock);
    this.#scaler = new Scaler({
      catalog,
      clock,
      logger,
      queues: this.#plugins.queues,
      startedCount: (name) => this.#parts.meter.startedCount(name),
    });
    this.#deployments = new Deployments({
      clock,
      logger,
      store: () => this.#plugins.store(this.#declared.gateway.deployments.store),
      providers: this.#plugins.providers,
      declared: () => this.#declared,
      inTurn: (work) => this.#inTurn(work),
      apply: (deployed) => this.#take(withDeployed(this.#declared, deployed)),
    });
  }

  /** Where the public listener listens, once started: `http://127.0.0.1:8080`. */
  get url(): string {
    return urlOf(this.#server?.address);
  }

  get managementUrl(): string {
    return urlOf(this.#management?.address());
  }

  /** Resolves when every part is up; rejects when the configuration asks for something that may not be done. */
  start(): Promise<void> {
    this.#started = this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    const { gateway } = this.#config;
    const plugins = this.#plugins;
    await plugins.startConnections();
    // Neither needs the other, and each waits for a thread or a broker. A failed start stops both, so both have ended then.
    const starting = Promise.allSettled([plugins.startStores(), plugins.startQueues()]);
    // Loaded while their threads start, which takes about as long.
    const { registerManagement } = await import('../api/management.ts');
    for (const one of await starting) if (one.status === 'rejected') throw one.reason;
    await plugins.startProviders();
    const invocations = invocationsOf(plugins.queues, () => this.#sources.running);
    const processes = processesOf(gateway.processes);
    const connectionEnded = callerMetrics(this.#parts.metrics);
    const server = new PublicServer({
      authenticator: this.#callers.authenticator,
      logger: this.#parts.logger,
      listenHost: gateway.listen.host,
      requested: requestMetrics(this.#parts.metrics, this.#parts.meter),
      limits: shareOf(gateway.limits.http, processes),
      ended: connectionEnded,
    });
    this.#server = server;
    if (processes > 1) this.#fronts = await this.#frontsOf(processes, connectionEnded);
    const refreshQueues = queueMetrics(this.#parts.metrics, plugins.queues, this.#parts.catalog);
    const refresh = async (): Promise<void> => {
      await Promise.all([refreshQueues(), this.#fronts?.refresh()]);
    };
    functionMetrics(this.#parts.metrics, this.#parts.catalog);
    connectionMetrics(this.#parts.metrics, () => connectionsOf(plugins));
    const { metrics, logger } = this.#parts;
    this.#management = managementServer(metrics, refresh, this.#config.observability.metrics.path, logger);
    registerManagement(
      server,
      managementServices({
        ...this.#parts,
        plugins,
        invocations,
        recent: this.#recent,
        callers: this.#callers,
        deployments: this.#deployments,
        scaler: this.#scaler,
        declared: () => this.#declared,
        inForce: () => ({ config: this.#config, findings: this.#findings }),
        isReady: () => this.#state === 'ready',
        fronts: () => this.#fronts,
      }),
      gateway,
    );
    server.serve([]);
    for (const connector of this.#config.connectors.values()) {
      if (connector.enabled) await this.#startConnector(connector, server, invocations);
    }
    this.#functions.deployCallbacks(gateway, this.#callbacks);
    this.#config = withDeployed(this.#declared, await this.#deployments.load());
    for (const config of this.#config.functions.values()) await this.#functions.deploy(config);
    const services = pipelineServices({
      ...this.#parts,
      config: () => this.#config,
      callers: this.#callers,
      queues: plugins.queues,
      recent: this.#recent,
      wake: (entry) => this.#scaler.wake(entry),
      checkCallback: (url) => (this.#ownFunction(url) ? undefined : this.#callbacks.check(url)),
      callbackFunction: (url) => this.#callbackFunction(url),
      stopping: () => this.#state === 'stopping',
    });
    this.#sources.start(pipeline(services));
    for (const [name, queue] of plugins.queues) this.#sources.addQueue(name, queue);
    for (const running of plugins.connectors) this.#sources.addConnector(running);
    await server.listen(gateway.listen.host, gateway.listen.port, this.#fronts !== undefined);
    if (this.#fronts) {
      await server.listenWithin(this.#fronts.path);
      this.#fronts.take(this.#config);
      await this.#fronts.start(server.listensAt);
    }
    await listen(this.#management, gateway.management.host, gateway.management.port);
    this.#state = 'ready';
    this.#deployments.follow();
    this.#scaler.start();
    this.#parts.events.emit('gateway.ready');
  }

  /**
   * Takes up another configuration, all or nothing: what did not change keeps its connections and what it has in flight.
   * Never rejects; one after another.
   */
  reload(loaded: Loaded): Promise<ReloadResult> {
    return this.#inTurn(() => this.#reload(loaded));
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const mine = this.#exchanging.then(work);
    this.#exchanging = mine.catch(() => undefined);
    return mine;
  }

  async #reload({ config, problems }: Loaded): Promise<ReloadResult> {
    const { events, logger } = this.#parts;
    const result: ReloadResult = config
      ? await this.#exchange(config)
      : { result: 'invalid', reasons: problems.map(({ text }) => text), changes: '' };
    const { reasons } = result;
    this.#reloads(result.result);
    if (result.result === 'ok') {
      this.#findings = problems;
      logger.info({ changes: result.changes }, 'another configuration is in force');
      events.emit('config.reloaded', { reason: result.changes });
    } else {
      for (const reason of reasons)
        logger.error({ reason, result: result.result }, 'the configuration was not taken up');
      events.emit('config.reload-failed', { reason: result.result, error: reasons.join('\n') });
    }
    return result;
  }

  async #exchange(declared: Config): Promise<ReloadResult> {
    const { functions: deployed, refused } = this.#deployments.under(declared);
    const config = withDeployed(declared, deployed);
    const changes = changesOf(this.#config, config);
    const reasons = [
      ...changes.needsRestart.map(({ path, reason }) => `${path} ${reason}: this needs a restart`),
      // What could not be had before either does not stand in the way.
      ...refused
        .filter(({ name }) => this.#deployments.isDeployed(name))
        .map(({ name, reason }) => `function ${name} was deployed through the API: ${reason}`),
    ];
    if (reasons.length > 0) {
      const result = changes.needsRestart.length > 0 ? 'needs-restart' : 'failed';
      return { result, reasons, changes: summaryOf(changes) };
    }
    try {
      await this.#take(config, changes);
      this.#declared = declared;
      this.#deployments.taken(deployed);
      return { result: 'ok', reasons: [], changes: summaryOf(changes) };
    } catch (error) {
      return { result: 'failed', reasons: [messageOf(error)], changes: summaryOf(changes) };
    }
  }

  /** Puts a configuration in force; rejects when it could not be, and all is as it was. */
  async #take(config: Config, changes = changesOf(this.#config, config)): Promise<void> {
    const server = this.#server;
    if (!server || this.#state !== 'ready') {
      throw new MillraceError('gateway.stopping', 'the gateway is not running');
    }
    const parts = {
      plugins: this.#plugins,
      sources: this.#sources,
      functions: this.#functions,
      server,
      invocations: invocationsOf(this.#plugins.queues, () => this.#sources.running),
      product,
      logger: this.#parts.logger,
      signal: this.#stopAsked.signal,
    };
    // While it changes, and until they know of it, everything is answered here.
    await this.#fronts?.hold();
    try {
      await new Exchange(this.#config, config, changes, parts).run(() => this.#inForce(config, changes, server));
    } catch (error) {
      // A client library's own words may hold what it was given.
      throw new MillraceError(codeOf(error), withoutSecrets(messageOf(error), config));
    } finally {
      this.#fronts?.take(this.#config);
    }
  }

  /** The gateway's own settings, for whoever asks from now on. */
  #inForce(config: Config, { settings, queues }: Changes, server: PublicServer): void {
    this.#config = config;
    this.#callers.takeUp(config.gateway);
    server.setAuthenticator(this.#callers.authenticator);
    if (settings.includes('gateway.callbacks')) {
      this.#formerCallbacks.push(this.#callbacks);
      this.#callbacks = this.#callbackSender();
    }
    if (settings.includes('gateway.callbacks') || queues.added.length > 0) {
      this.#functions.deployCallbacks(config.gateway, this.#callbacks);
    }
  }

  /**
   * Unready, and so for as long as whoever sends calls takes to notice; then nothing new, then what is in flight until the
   * drain deadline; what is left then goes back to its queue. Safe to call twice.
   */
  async stop(drainMs: number = this.#config.gateway.shutdown.drain): Promise<void> {
    if (this.#ending()) return;
    const { clock, events, deadlines, logger } = this.#parts;
    // A broker that is not there would be waited for. Any other part that is being started could not be stopped: how that start ended is told to whoever began it.
    this.#stopAsked.abort(new MillraceError('gateway.stopping', 'the gateway is stopping'));
    this.#plugins.stopDialling();
    await this.#started?.catch(() => undefined);
    await this.#scaler.stop();
    await this.#deployments.stop();
    await this.#exchanging;
    if (this.#ending()) return;
    events.emit('gateway.stopping');
    if (breaksOff) this.#server?.closeAllConnections();
    if (this.#state === 'ready') {
      this.#state = 'leaving';
      this.#server?.leave();
      this.#fronts?.leave();
      await sleep(this.#config.gateway.shutdown.notice);
    }
    this.#state = 'stopping';
    const deadline = clock.monotonic() + drainMs;
    const left = (): number => Math.max(0, deadline - clock.monotonic());
    this.#sources.leaveAll();
    const inFront = this.#fronts?.close();
    const closed = this.#server?.close(); // Idle connections end now; those with a call in flight, after its answer.
    const drained = Promise.all([
      ...this.#plugins.connectors.map(({ credit }) => credit.whenIdle()),
      this.#sources.whenIdle(),
      inFront,
    ]);
    if (!(await within(drained, left()))) {
      logger.warn(
        { inFlight: this.#sources.running.length },
        'the drain deadline has passed: handing back what still runs',
      );
      this.#sources.abort();
      this.#server?.closeAllConnections();
      await this.#fronts?.stop();
      await within(drained, 5000);
    }
    await within(Promise.resolve(closed), Math.min(1000, left() + 100));
    this.#server?.closeAllConnections();
    await this.#fronts?.stop();
    this.#server?.closeWithin();
    for (const { instance, connector } of this.#plugins.connectors)
      await instance.stop((ms) => connector.stop(ms), Math.max(left(), stopMs));
    this.#sources.stop();
    await this.#plugins.stop(Math.max(left(), stopMs));
    for (const sender of [this.#callbacks, ...this.#formerCallbacks]) await sender.close();
    this.#management?.close();
    this.#management?.closeAllConnections();
    await this.#parts.tracing?.stop();
    deadlines.stop();
    this.#state = 'stopped';
  }

  async #frontsOf(processes: number, connectionEnded: (reason: ConnectionEnd) => void): Promise<Fronts> {
    const { Fronts } = await import('../fronts/fronts.ts');
    const credits = (): CreditPool | undefined =>
      this.#plugins.connectors.find(({ instance }) => instance.name === this.#fronts?.connector)?.credit;
    return new Fronts(processes - 1, this.#config, {
      ...this.#parts,
      baseFolder: this.#baseFolder,
      connectionEnded,
      inFlight: credits,
    });
  }

  #ending(): boolean {
    return this.#state === 'leaving' || this.#state === 'stopping' || this.#state === 'stopped';
  }

  #callbackSender(): CallbackSender {
    const { allow, timeout, secret } = this.#config.gateway.callbacks;
    const { clock } = this.#parts;
    return createCallbackSender({ allow, timeoutMs: timeout, secret, userAgent: product, clock });
  }

  /**
   * A callback shows no credentials. One to a function that is not public goes over HTTP, where it is refused like any
   * other call, and until then is told by nothing from one to a function that is not there.
   */
  #callbackFunction(url: string): CallbackFunction | undefined {
    const target = this.#ownFunction(url);
    return target && this.#callers.isClosed(target.lane) ? undefined : target;
  }

  #ownFunction(url: string): CallbackFunction | undefined {
    const { callbacks, namespace } = this.#config.gateway;
    return callbackFunctionOf(url, callbacks.internal, namespace);
  }

  /** One whose routes another one has already has failed. */
  async #startConnector(config: ConnectorConfig, server: PublicServer, invocations: Invocations): Promise<void> {
    const plugins = this.#plugins;
    const running = await plugins.startConnector(config, invocations, product);
    if (!running) return;
    try {
      server.serve(plugins.connectors.flatMap(({ routes }) => routes ?? []));
    } catch (error) {
      running.instance.fail(error);
      await plugins.dropConnector(running, 0);
    }
  }
}

/** What a provider finds wrong with a function is wrong with what was asked for, whether a file or a client asked. */
function codeOf(error: unknown): ErrorCode {
  return error instanceof MillraceError && error.code !== 'config.invalid' ? error.code : 'request.invalid';
}

/** What stands in the files goes first. */
function withDeployed(declared: Config, deployed: ReadonlyMap<string, FunctionConfig>): Config {
  return deployed.size === 0 ? declared : { ...declared, functions: new Map([...deployed, ...declared.functions]) };
}
