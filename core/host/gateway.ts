import type { FastifyInstance } from 'fastify';
import { PublicServer } from '../api/server.ts';
import { registerManagement } from '../api/management.ts';
import type { ConnectionStats, ManagementServices } from '../api/services.ts';
import { type Changes, changesOf, summaryOf } from '../config/changes.ts';
import type { Loaded } from '../config/load.ts';
import { redacted } from '../config/redact.ts';
import type { Config, ConnectorConfig } from '../config/schema.ts';
import { didYouMean } from '../config/suggest.ts';
import type { Triggered } from '../contracts/connector.ts';
import type { Delivery } from '../contracts/delivery.ts';
import type { Invocations } from '../contracts/definition.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import { createCallbackSender, type CallbackSender } from '../delivery/callback.ts';
import { createId } from '../delivery/ids.ts';
import { connectionMetrics } from '../observe/connection-metrics.ts';
import { queueMetrics } from '../observe/queue-metrics.ts';
import { reloadMetrics, type ReloadOutcome } from '../observe/reload-metrics.ts';
import { pipeline } from '../pipeline/pipeline.ts';
import { product } from '../version.ts';
import type { PipelineServices } from '../pipeline/stage.ts';
import type { DependencyContainer } from './container.ts';
import { Exchange } from './exchange.ts';
import { Functions } from './functions.ts';
import { invocationsOf } from './invocations.ts';
import { managementServer } from './management-server.ts';
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
} from './tokens.ts';
import { connectionView, connectorView } from './views.ts';
import { within } from './within.ts';

/** Keeps the pipeline's dedup of `Idempotency-Key`, ms. */
const idempotencyWindowMs = 86_400_000;
/** What a plugin has at least to hand back what it holds, however late it is. */
const stopMs = 2000;

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
  /** What is in force. */
  #config: Config;
  readonly #parts;
  readonly #plugins: Plugins;
  readonly #running = new Map<string, Delivery>();
  readonly #sources: Sources;
  readonly #functions: Functions;
  readonly #stopAsked = new AbortController();
  readonly #reloads: (result: ReloadOutcome) => void;
  #callbacks: CallbackSender;
  /** Senders with other settings, which may have something under way. */
  readonly #formerCallbacks: CallbackSender[] = [];
  #started: Promise<void> | undefined;
  #reloading: Promise<unknown> = Promise.resolve();
  #server: PublicServer | undefined;
  #management: FastifyInstance | undefined;
  #state: 'starting' | 'ready' | 'stopping' | 'stopped' = 'starting';

  constructor(container: DependencyContainer, baseFolder: string) {
    this.#config = container.resolve(configToken);
    this.#parts = {
      catalog: container.resolve(catalogToken),
      clock: container.resolve(clockToken),
      deadlines: container.resolve(deadlinesToken),
      events: container.resolve(eventsToken),
      logger: container.resolve(loggerToken),
      meter: container.resolve(meterToken),
      metrics: container.resolve(metricsToken),
    };
    const { catalog, clock, events, logger, metrics } = this.#parts;
    const onFailure = (instance: { name: string; type: string }, error: unknown): void => {
      logger.error({ err: error, plugin: instance.name, type: instance.type }, 'a plugin failed');
      events.emit('plugin.failed', { at: clock.now(), plugin: instance.name, error: String(error) });
    };
    this.#plugins = new Plugins({ logger, clock, registry: metrics, baseFolder, onFailure }, this.#config, this.#parts);
    const resultBody = this.#config.gateway.limits.body;
    this.#sources = new Sources({ ...this.#parts, running: this.#running, resultBody });
    this.#functions = new Functions(catalog, this.#plugins, logger);
    this.#callbacks = this.#callbackSender();
    this.#reloads = reloadMetrics(metrics, clock);
  }

  /** Where the public listener listens, once started: `http://127.0.0.1:8080`. */
  get url(): string {
    return addressOf(this.#server?.api);
  }

  get managementUrl(): string {
    return addressOf(this.#management);
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
    await plugins.startStores();
    await plugins.startQueues();
    await plugins.startProviders();
    const invocations = invocationsOf(plugins.queues, this.#running);
    const server = new PublicServer({
      auth: gateway.auth,
      logger: this.#parts.logger,
      listenHost: gateway.listen.host,
    });
    this.#server = server;
    const refresh = queueMetrics(this.#parts.metrics, plugins.queues, this.#parts.catalog);
    connectionMetrics(this.#parts.metrics, () => this.#connections());
    this.#management = managementServer(this.#parts.metrics, refresh, this.#config.observability.metrics.path);
    registerManagement(server.api, this.#services(invocations));
    await server.api.ready();
    for (const connector of this.#config.connectors.values()) {
      if (connector.enabled) await this.#startConnector(connector, server, invocations);
    }
    this.#functions.deployCallbacks(gateway, this.#callbacks);
    for (const config of this.#config.functions.values()) await this.#functions.deploy(config);
    this.#sources.start(pipeline(this.#pipelineServices()));
    for (const [name, queue] of plugins.queues) this.#sources.addQueue(name, queue);
    for (const running of plugins.connectors) this.#sources.addConnector(running);
    await server.listen(gateway.listen.host, gateway.listen.port);
    await this.#management.listen({ host: gateway.management.host, port: gateway.management.port });
    this.#state = 'ready';
    this.#parts.events.emit('gateway.ready', { at: this.#parts.clock.now() });
  }

  /**
   * Takes up another configuration, all or nothing: what did not change keeps its connections and what it has in flight.
   * Never rejects; one after another.
   */
  reload(loaded: Loaded): Promise<ReloadResult> {
    const reloading = this.#reloading.then(() => this.#reload(loaded));
    this.#reloading = reloading;
    return reloading;
  }

  async #reload({ config, problems }: Loaded): Promise<ReloadResult> {
    const { clock, events, logger } = this.#parts;
    const result: ReloadResult = config
      ? await this.#exchange(config)
      : { result: 'invalid', reasons: problems.map(({ text }) => text), changes: '' };
    const { reasons } = result;
    this.#reloads(result.result);
    const at = clock.now();
    if (result.result === 'ok') {
      logger.info({ changes: result.changes }, 'another configuration is in force');
      events.emit('config.reloaded', { at, reason: result.changes });
    } else {
      for (const reason of reasons)
        logger.error({ reason, result: result.result }, 'the configuration was not taken up');
      events.emit('config.reload-failed', { at, reason: result.result, error: reasons.join('\n') });
    }
    return result;
  }

  async #exchange(config: Config): Promise<ReloadResult> {
    const changes = changesOf(this.#config, config);
    const reasons = changes.needsRestart.map(({ path, reason }) => `${path} ${reason}: this needs a restart`);
    if (reasons.length > 0) return { result: 'needs-restart', reasons, changes: summaryOf(changes) };
    const server = this.#server;
    if (!server || this.#state !== 'ready') {
      return { result: 'failed', reasons: ['the gateway is not running'], changes: summaryOf(changes) };
    }
    const parts = {
      plugins: this.#plugins,
      sources: this.#sources,
      functions: this.#functions,
      server,
      invocations: invocationsOf(this.#plugins.queues, this.#running),
      product,
      logger: this.#parts.logger,
      signal: this.#stopAsked.signal,
    };
    try {
      const exchange = new Exchange(this.#config, config, changes, parts);
      await exchange.run(() => this.#inForce(config, changes, server));
      return { result: 'ok', reasons: [], changes: summaryOf(changes) };
    } catch (error) {
      // A client library's own words may hold what it was given.
      const reason = String(
        redacted(
          messageOf(error),
          config.secrets.filter(({ length }) => length >= 4),
        ),
      );
      return { result: 'failed', reasons: [reason], changes: summaryOf(changes) };
    }
  }

  /** The gateway's own settings, for whoever asks from now on. */
  #inForce(config: Config, { settings, queues }: Changes, server: PublicServer): void {
    this.#config = config;
    if (settings.includes('gateway.auth')) server.setAuth(config.gateway.auth);
    if (settings.includes('gateway.callbacks')) {
      this.#formerCallbacks.push(this.#callbacks);
      this.#callbacks = this.#callbackSender();
    }
    if (settings.includes('gateway.callbacks') || queues.added.length > 0) {
      this.#functions.deployCallbacks(config.gateway, this.#callbacks);
    }
  }

  /**
   * Unready, then nothing new, then what is in flight until the drain deadline; what is left then goes back to its
   * queue. Safe to call twice.
   */
  async stop(drainMs: number = this.#config.gateway.shutdown.drain): Promise<void> {
    if (this.#ending()) return;
    const { clock, events, deadlines, logger } = this.#parts;
    // A broker that is not there would be waited for. Any other part that is being started could not be stopped: how that start ended is told to whoever began it.
    this.#stopAsked.abort(new MillraceError('gateway.stopping', 'the gateway is stopping'));
    this.#plugins.stopDialling();
    await this.#started?.catch(() => undefined);
    await this.#reloading;
    if (this.#ending()) return;
    this.#state = 'stopping';
    events.emit('gateway.stopping', { at: clock.now() });
    const deadline = clock.monotonic() + drainMs;
    const left = (): number => Math.max(0, deadline - clock.monotonic());
    const listener = this.#server?.api.server;
    this.#sources.leaveAll();
    const closed = this.#server?.close(); // Idle connections end now; those with a call in flight, after its answer.
    const drained = Promise.all([
      ...this.#plugins.connectors.map(({ credit }) => credit.whenIdle()),
      this.#sources.whenIdle(),
    ]);
    if (!(await within(drained, left()))) {
      logger.warn({ inFlight: this.#running.size }, 'the drain deadline has passed: handing back what still runs');
      this.#sources.abort();
      listener?.closeAllConnections();
      await within(drained, 5000);
    }
    // A kept-alive connection that was busy a moment ago would stay open for as long as its client likes.
    const closing = setInterval(() => listener?.closeIdleConnections(), 20);
    await within(Promise.resolve(closed), Math.min(1000, left() + 100));
    clearInterval(closing);
    listener?.closeAllConnections();
    for (const { instance, connector } of this.#plugins.connectors)
      await instance.stop((ms) => connector.stop(ms), Math.max(left(), stopMs));
    this.#sources.stop();
    await this.#plugins.stop(Math.max(left(), stopMs));
    for (const sender of [this.#callbacks, ...this.#formerCallbacks]) await sender.close();
    await this.#management?.close();
    deadlines.stop();
    this.#state = 'stopped';
  }

  #ending(): boolean {
    return this.#state === 'stopping' || this.#state === 'stopped';
  }

  #callbackSender(): CallbackSender {
    const { allow, timeout, secret } = this.#config.gateway.callbacks;
    const { clock } = this.#parts;
    return createCallbackSender({ allow, timeoutMs: timeout, secret, userAgent: product, clock });
  }

  /** One whose routes another one has already has failed. */
  async #startConnector(config: ConnectorConfig, server: PublicServer, invocations: Invocations): Promise<void> {
    const plugins = this.#plugins;
    const running = await plugins.startConnector(config, server, invocations, product);
    if (!running) return;
    try {
      server.serve(plugins.connectors.flatMap(({ app }) => app ?? []));
    } catch (error) {
      running.instance.fail(error);
      await plugins.dropConnector(running, 0);
    }
  }

  async #trigger(name: string, slots: { from: number; to: number } | undefined): Promise<readonly Triggered[]> {
    const { connectors } = this.#plugins;
    const running = connectors.find(({ instance }) => instance.name === name && instance.state === 'running');
    if (!running) {
      const hint = didYouMean(
        name,
        connectors.map(({ instance }) => instance.name),
      );
      throw new MillraceError('connector.unknown', `no connector "${name}" is running${hint}`);
    }
    const { connector, instance } = running;
    const trigger = connector.trigger?.bind(connector);
    if (!trigger) {
      const message = `connector "${name}" is of kind ${instance.kind}, which goes by no clock`;
      throw new MillraceError('request.conflict', message);
    }
    return instance.within(() => trigger(slots));
  }

  #connections(): readonly ConnectionStats[] {
    const { instances, connections } = this.#plugins;
    return instances.filter(({ type }) => type === 'connection').map((one) => connectionView(one, connections));
  }

  #pipelineServices(): PipelineServices {
    const { catalog, clock, deadlines, events, logger, meter } = this.#parts;
    const { limits } = this.#config.gateway;
    const inForce = (): Config => this.#config;
    return {
      catalog,
      clock,
      deadlines,
      logger,
      meter,
      emit: events.emit,
      queues: this.#plugins.queues,
      running: this.#running,
      get standardRetry() {
        return inForce().standardRetry;
      },
      limits: {
        asyncBody: limits.asyncBody,
        resultBody: limits.body,
        waiting: limits.waiting,
        depth: limits.depth,
        dedupWindowMs: idempotencyWindowMs,
      },
      checkCallback: (url) => this.#callbacks.check(url),
      stopping: () => this.#state === 'stopping',
    };
  }

  #services(invocations: ManagementServices['invocations']): ManagementServices {
    const { catalog, clock, events, meter } = this.#parts;
    const plugins = this.#plugins;
    return {
      queues: plugins.queues,
      invocations,
      catalog,
      namespace: this.#config.gateway.namespace,
      events: events.all,
      invocationCount: (name) => meter.invocationCount(name),
      nextId: () => createId(clock.now()),
      waitingRooms: () =>
        catalog.list().map(({ name, slots }) => ({
          function: name,
          waiting: slots.waiting,
          running: slots.running,
          oldestAgeMs: slots.oldestAgeMs(),
        })),
      workQueues: () =>
        [...plugins.providers].flatMap(([provider, plugin]) =>
          (plugin.workQueues?.() ?? []).map((stats) => ({ ...stats, provider })),
        ),
      connectors: () =>
        plugins.instances
          .filter(({ type }) => type === 'connector')
          .map((instance) => connectorView(instance, plugins.connectors)),
      connections: () => this.#connections(),
      trigger: (name, slots) => this.#trigger(name, slots),
      isReady: () => ({
        ready: this.#state === 'ready' && plugins.failed().length === 0,
        failed: plugins.failed().map(({ name, kind, error }) => ({ name, kind, error: error ?? 'unknown' })),
      }),
    };
  }
}

function addressOf(server: FastifyInstance | undefined): string {
  const address = server?.server.address();
  if (!address || typeof address === 'string') return '';
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
}
