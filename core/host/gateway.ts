import type { FastifyInstance } from 'fastify';
import { catchError, EMPTY, mergeAll, type Observable, Subject, Subscription } from 'rxjs';
import { createPublicServer } from '../api/server.ts';
import { registerManagement } from '../api/management.ts';
import type { ConnectionStats, ManagementServices } from '../api/services.ts';
import type { Config } from '../config/schema.ts';
import { didYouMean } from '../config/suggest.ts';
import type { Triggered } from '../contracts/connector.ts';
import type { Delivery } from '../contracts/delivery.ts';
import { MillraceError } from '../contracts/errors.ts';
import { createCallbackSender, type CallbackSender } from '../delivery/callback.ts';
import { callbackPolicy, callbackProvider, callbackSpec } from '../delivery/callback-provider.ts';
import { replyProvider, replySpec } from '../delivery/reply.ts';
import { createId } from '../delivery/ids.ts';
import { LaneSource } from '../delivery/lanes.ts';
import { connectionMetrics } from '../observe/connection-metrics.ts';
import { queueMetrics } from '../observe/queue-metrics.ts';
import { pipeline } from '../pipeline/pipeline.ts';
import { product } from '../version.ts';
import type { PipelineServices } from '../pipeline/stage.ts';
import type { DependencyContainer } from './container.ts';
import { invocationsOf } from './invocations.ts';
import { LaneManager } from './lane-manager.ts';
import { managementServer } from './management-server.ts';
import { Plugins, type RunningConnector } from './plugins.ts';
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

/** Keeps the pipeline's dedup of `Idempotency-Key`, ms. */
const idempotencyWindowMs = 86_400_000;

/**
 * One running gateway. Started from the bottom up (connections, stores, queues, providers, functions, connectors,
 * listeners) and stopped from the top down, so that nothing is ever given to a part that is not there.
 */
export class Gateway {
  readonly #config: Config;
  readonly #parts;
  readonly #plugins: Plugins;
  readonly #running = new Map<string, Delivery>();
  readonly #sources = new Subject<Observable<Delivery>>();
  readonly #flow = new Subscription();
  readonly #lanes: { readonly manager: LaneManager; readonly source: LaneSource }[] = [];
  readonly #taking = new Map<RunningConnector, Subscription>();
  readonly #callbacks: CallbackSender;
  #started: Promise<void> | undefined;
  #http: FastifyInstance | undefined;
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
    const { clock, events, logger, metrics } = this.#parts;
    const onFailure = (instance: { name: string; type: string }, error: unknown): void => {
      logger.error({ err: error, plugin: instance.name, type: instance.type }, 'a plugin failed');
      events.emit('plugin.failed', { at: clock.now(), plugin: instance.name, error: String(error) });
    };
    this.#plugins = new Plugins({ logger, clock, registry: metrics, baseFolder, onFailure }, this.#config, this.#parts);
    const { allow, timeout, secret } = this.#config.gateway.callbacks;
    this.#callbacks = createCallbackSender({ allow, timeoutMs: timeout, secret, userAgent: product, clock });
  }

  /** Where the public listener listens, once started: `http://127.0.0.1:8080`. */
  get url(): string {
    return addressOf(this.#http);
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
    const http = createPublicServer({
      auth: gateway.auth,
      logger: this.#parts.logger,
      listenHost: gateway.listen.host,
    });
    this.#http = http;
    const refresh = queueMetrics(this.#parts.metrics, plugins.queues, this.#parts.catalog);
    connectionMetrics(this.#parts.metrics, () => this.#connections());
    this.#management = managementServer(this.#parts.metrics, refresh, this.#config.observability.metrics.path);
    registerManagement(http, this.#services(invocations));
    await plugins.startConnectors(http, invocations, product);
    await this.#deployFunctions();
    this.#run();
    await http.listen({ host: gateway.listen.host, port: gateway.listen.port });
    await this.#management.listen({ host: gateway.management.host, port: gateway.management.port });
    this.#state = 'ready';
    this.#parts.events.emit('gateway.ready', { at: this.#parts.clock.now() });
  }

  /**
   * Unready, then nothing new, then what is in flight until the drain deadline; what is left then goes back to its
   * queue. Safe to call twice.
   */
  async stop(drainMs: number = this.#config.gateway.shutdown.drain): Promise<void> {
    if (this.#ending()) return;
    const { clock, events, deadlines, logger } = this.#parts;
    // A broker that is not there would be waited for. Any other part that is being started could not be stopped: how that start ended is told to whoever began it.
    this.#plugins.stopDialling();
    await this.#started?.catch(() => undefined);
    if (this.#ending()) return;
    this.#state = 'stopping';
    events.emit('gateway.stopping', { at: clock.now() });
    const deadline = clock.monotonic() + drainMs;
    const left = (): number => Math.max(0, deadline - clock.monotonic());
    for (const { manager } of this.#lanes) manager.stop();
    for (const subscription of this.#taking.values()) subscription.unsubscribe();
    for (const { intake } of this.#plugins.connectors) intake?.drain();
    const closed = this.#http?.close(); // Idle connections end now; those with a call in flight, after its answer.
    const drained = Promise.all([
      ...this.#plugins.connectors.map(({ credit }) => credit.whenIdle()),
      ...this.#lanes.map(({ source }) => source.whenIdle()),
    ]);
    if (!(await within(drained, left()))) {
      logger.warn({ inFlight: this.#running.size }, 'the drain deadline has passed: handing back what still runs');
      for (const { source } of this.#lanes) source.abort();
      this.#http?.server.closeAllConnections();
      await within(drained, 5000);
    }
    // A kept-alive connection that was busy a moment ago would stay open for as long as its client likes.
    const closing = setInterval(() => this.#http?.server.closeIdleConnections(), 20);
    await within(Promise.resolve(closed), Math.min(1000, left() + 100));
    clearInterval(closing);
    this.#http?.server.closeAllConnections();
    for (const { instance, connector } of this.#plugins.connectors)
      await instance.stop((ms) => connector.stop(ms), left());
    this.#flow.unsubscribe();
    for (const { source } of this.#lanes) source.stop();
    await this.#plugins.stop(Math.max(left(), 2000));
    await this.#callbacks.close();
    await this.#management?.close();
    deadlines.stop();
    this.#state = 'stopped';
  }

  #ending(): boolean {
    return this.#state === 'stopping' || this.#state === 'stopped';
  }

  /** The one subscription of the process: every source, merged, through the one pipeline. */
  #run(): void {
    const { catalog, clock, logger, meter } = this.#parts;
    this.#flow.add(
      this.#sources.pipe(mergeAll(), pipeline(this.#pipelineServices())).subscribe({
        error: (error: unknown) => logger.fatal({ err: error }, 'the pipeline ended'),
      }),
    );
    const resultBody = this.#config.gateway.limits.body;
    for (const [queueName, queue] of this.#plugins.queues) {
      const stale = (): void => meter.stale(queueName);
      const source = new LaneSource({ queueName, queue, clock, logger, running: this.#running, resultBody, stale });
      const manager = new LaneManager(queueName, queue, source, catalog, logger);
      this.#lanes.push({ manager, source });
      source.start();
      this.#flow.add(manager.sources().subscribe((lane) => this.#sources.next(lane)));
    }
    for (const running of this.#plugins.connectors) this.#take(running);
  }

  /** Merges a connector in, so that its failure is its own. */
  #take(running: RunningConnector): void {
    const { instance, connector, credit, intake } = running;
    const out = new Subject<Delivery>();
    this.#sources.next(out);
    intake?.runs((delivery) => out.next(delivery));
    const settled = {
      giveBack: (): void => {
        running.inFlight--;
        running.settled++;
        credit.giveBack();
      },
    };
    void instance.step(() => {
      const taking = connector
        .deliveries(credit)
        .pipe(
          catchError((error: unknown) => {
            instance.fail(error);
            return EMPTY;
          }),
        )
        .subscribe((delivery) => {
          if (running.inFlight >= credit.outstanding) {
            // Without bounds it would flood the gateway. What it emitted is not run, and not acknowledged either.
            instance.fail(new Error('it emitted a delivery for which it had taken no credit'));
            return;
          }
          running.inFlight++;
          delivery.credit = settled;
          if (intake) intake.take(delivery);
          else out.next(delivery);
        });
      this.#taking.set(running, taking);
      instance.host.signal.addEventListener('abort', () => taking.unsubscribe(), { once: true });
    });
  }

  async #deployFunctions(): Promise<void> {
    const { catalog, logger } = this.#parts;
    const { gateway } = this.#config;
    const retry = gateway.callbacks.retry;
    for (const queue of this.#plugins.queues.keys()) {
      catalog.add(
        callbackSpec,
        callbackPolicy(queue, retry, gateway.callbacks.timeout),
        callbackProvider(this.#callbacks),
      );
      catalog.add(
        replySpec,
        callbackPolicy(queue, retry, gateway.callbacks.timeout),
        replyProvider((name) => this.#plugins.connections.get(name)?.connection),
      );
      break; // Their lanes in the other queues are read as soon as they hold anything.
    }
    for (const { name } of [callbackSpec, replySpec]) {
      catalog.report({ name, state: 'ready', replicas: 1, availableReplicas: 1, capacity: 32 });
    }
    for (const {
      name,
      provider: providerName,
      config,
      policy,
      env,
      labels,
      annotations,
    } of this.#config.functions.values()) {
      const provider = this.#plugins.providers.get(providerName);
      if (!provider) {
        logger.error(
          { function: name, provider: providerName },
          'a function was not deployed: its provider is not running',
        );
        continue;
      }
      const spec = { name, provider: providerName, config, env, labels, annotations };
      catalog.add(spec, policy, provider);
      try {
        await provider.deploy(spec);
      } catch (error) {
        logger.error({ err: error, function: name }, 'a function could not be deployed');
        const message = error instanceof Error ? error.message : String(error);
        catalog.report({ name, state: 'failed', replicas: 0, availableReplicas: 0, capacity: 0, message });
      }
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
    return {
      catalog,
      clock,
      deadlines,
      logger,
      meter,
      emit: events.emit,
      queues: this.#plugins.queues,
      running: this.#running,
      standardRetry: this.#config.standardRetry,
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

/** Whether the promise was there in time. */
async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise: tooLate, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(resolve, ms, false);
  const result = await Promise.race([promise.then(() => true), tooLate]);
  clearTimeout(timer);
  return result;
}

function addressOf(server: FastifyInstance | undefined): string {
  const address = server?.server.address();
  if (!address || typeof address === 'string') return '';
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
}
