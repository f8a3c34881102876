import type { Logger } from 'pino';
import { tap } from '../kit/rxjs.ts';
import type { OwnRoutes } from '../api/route-table.ts';
import { Authenticator } from '../auth/authenticator.ts';
import { Refusals } from '../auth/refusals.ts';
import type { Config, FunctionConfig, ProviderConfig } from '../config/schema.ts';
import { type Clock, within } from '../contracts/clock.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import { Deadlines } from '../delivery/deadlines.ts';
import { Catalog, type CatalogEntry } from '../functions/catalog.ts';
import { Functions } from '../host/functions.ts';
import { invocationsOf } from '../host/invocations.ts';
import { Plugins } from '../host/plugins.ts';
import type { Registry } from '../host/registry.ts';
import { Sources } from '../host/sources.ts';
import type { Events } from '../observe/events.ts';
import type { Meter } from '../observe/meter.ts';
import { Registry as Metrics } from '../observe/prometheus.ts';
import { RecentInvocations } from '../observe/recent-invocations.ts';
import type { Tracing } from '../observe/tracing.ts';
import { pipeline } from '../pipeline/pipeline.ts';
import { product } from '../version.ts';
import type { FrontSettings } from './protocol.ts';

export interface FrontCallsParts {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly events: Events;
  readonly tracing: Tracing | undefined;
  readonly baseFolder: string;
  /** What has come in as a request has become a call. */
  readonly onBegun: () => void;
  /** A call of this function has ended. */
  readonly onEnded: (name: string) => void;
}

const stopMs = 2000;

/** Answers calls by one set of settings: the gateway's own connector, pipeline and providers, without anything that is kept. */
export class FrontCalls {
  readonly #parts: FrontCallsParts;
  readonly #config: Config;
  readonly #catalog: Catalog;
  readonly #plugins: Plugins;
  readonly #sources: Sources;
  readonly #functions: Functions;
  readonly #deadlines: Deadlines;
  /** Stays empty: what is queued is passed on. */
  readonly #recent = new RecentInvocations();
  #hasFailed = false;

  private constructor(config: Config, parts: FrontCallsParts) {
    const { clock, logger, meter, baseFolder } = parts;
    this.#parts = parts;
    this.#config = config;
    this.#catalog = new Catalog(config.gateway.namespace, clock);
    this.#deadlines = new Deadlines(clock);
    const onFailure = ({ name, type }: { name: string; type: string }, error: unknown): void => {
      this.#hasFailed = true;
      logger.error({ err: error, plugin: name, type }, 'a plugin failed in front: all calls are passed on');
    };
    const shared = { logger, clock, registry: new Metrics(), baseFolder, onFailure };
    this.#plugins = new Plugins(shared, config, { catalog: this.#catalog, meter });
    const resultBody = config.gateway.limits.body;
    this.#sources = new Sources({
      catalog: this.#catalog,
      clock,
      logger,
      meter,
      recent: this.#recent,
      resultBody,
    });
    this.#functions = new Functions(this.#catalog, this.#plugins, logger);
  }

  static async start(settings: FrontSettings, parts: FrontCallsParts): Promise<FrontCalls> {
    const calls = new FrontCalls(await configOf(settings, parts.registry), parts);
    await calls.#start();
    return calls;
  }

  get routes(): readonly OwnRoutes[] {
    return this.#plugins.connectors.flatMap(({ routes }) => routes ?? []);
  }

  /** The function, if it can be called here now. */
  ready(name: string): CatalogEntry | undefined {
    const entry = this.#hasFailed ? undefined : this.#catalog.get(name);
    return entry?.status.state === 'ready' ? entry : undefined;
  }

  /** One that cannot be placed here is not answered here. */
  async put(functions: readonly FunctionConfig[]): Promise<void> {
    for (const config of functions) {
      try {
        await this.#functions.place(config, this.#functions.providerOf(config));
        this.#functions.put(config);
      } catch (error) {
        this.#catalog.remove(config.name);
        this.#parts.logger.warn(
          { function: config.name, reason: messageOf(error) },
          'a function is not answered in front',
        );
      }
    }
  }

  async remove(names: readonly string[]): Promise<void> {
    for (const name of names) await this.#functions.remove(name);
  }

  /** Calls are refused from now on. */
  leave(): void {
    this.#sources.leaveAll();
  }

  /** Once its calls have ended, or at the deadline. */
  async stop(drainMs: number): Promise<void> {
    const idle = Promise.all(this.#plugins.connectors.map(({ credit }) => credit.whenIdle()));
    await within(idle, drainMs);
    this.leave();
    for (const { instance, connector } of this.#plugins.connectors)
      await instance.stop((ms) => connector.stop(ms), stopMs);
    this.#sources.stop();
    await this.#plugins.stop(stopMs);
    this.#deadlines.stop();
  }

  async #start(): Promise<void> {
    await this.#plugins.startProviders();
    for (const connector of this.#config.connectors.values()) {
      await this.#plugins.startConnector(
        connector,
        invocationsOf(new Map(), () => []),
        product,
      );
    }
    const through = pipeline(this.#services());
    const { onBegun, onEnded } = this.#parts;
    this.#sources.start((deliveries) =>
      through(deliveries.pipe(tap(onBegun))).pipe(
        tap(({ delivery: { request } }) => onEnded(this.#catalog.qualify(request.function))),
      ),
    );
    for (const running of this.#plugins.connectors) this.#sources.addConnector(running);
  }

  #services(): Parameters<typeof pipeline>[0] {
    const { clock, events, logger, meter, tracing } = this.#parts;
    const { limits } = this.#config.gateway;
    const authParts = { clock, logger, refusals: new Refusals(new Metrics(), logger, clock), keySets: new Map() };
    return {
      catalog: this.#catalog,
      clock,
      deadlines: this.#deadlines,
      logger,
      meter,
      tracing,
      emit: events.emit,
      queues: new Map(),
      recent: this.#recent,
      standardRetry: this.#config.standardRetry,
      functionAuth: 'public',
      authenticator: new Authenticator('none', authParts),
      limits: { ...limits, resultBody: limits.body, dedupWindowMs: 0 },
      waitingRoom: { now: 0 },
      wake: () => Promise.resolve(),
      checkCallback: neverAsked,
      callbackFunction: () => undefined,
      stopping: () => false,
    };
  }
}

/** Callbacks are for asynchronous calls, which are passed on. */
function neverAsked(): never {
  throw new MillraceError('internal', 'a front was to enqueue a call');
}

/** What a gateway's parts are made of, with no more in it than a front has. */
async function configOf(settings: FrontSettings, registry: Registry): Promise<Config> {
  const { gateway, observability, standardRetry, secrets } = settings;
  const providers = new Map<string, ProviderConfig>();
  for (const { name, kind, config } of settings.providers) {
    const definition = await registry.find('provider', kind);
    // One of a plugin of somebody else's is the owner's alone.
    if (definition) providers.set(name, { name, kind, definition, config, connection: undefined, allowDeploy: false });
  }
  const connectors: [string, Config['connectors'] extends ReadonlyMap<string, infer One> ? One : never][] = [];
  const definition = settings.connector && (await registry.find('connector', settings.connector.kind));
  if (settings.connector && definition) {
    // What may be in flight is bounded by the slots that are lent, each with its place among all calls.
    const credit = Number.MAX_SAFE_INTEGER;
    const own = {
      ...settings.connector,
      definition,
      connection: undefined,
      enabled: true,
      credit,
      messages: undefined,
    };
    connectors.push([own.name, own]);
  }
  return {
    gateway,
    observability,
    connections: new Map(),
    queues: new Map(),
    stores: new Map(),
    providers,
    connectors: new Map(connectors),
    functions: new Map(),
    tests: [],
    standardRetry,
    secrets,
  };
}
