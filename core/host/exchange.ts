import type { Logger } from 'pino';
import type { OwnRoutes } from '../api/route-table.ts';
import type { PublicServer } from '../api/server.ts';
import type { Changes, PartChanges } from '../config/changes.ts';
import type { Config, PluginConfig } from '../config/schema.ts';
import { within } from '../contracts/clock.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Invocations } from '../contracts/definition.ts';
import type { Provider } from '../contracts/provider.ts';
import type { Functions } from './functions.ts';
import type { PluginInstance } from './instance.ts';
import type { Plugins, RunningConnection, RunningConnector } from './plugins.ts';
import type { Sources } from './sources.ts';

/** What a reload works on. All of it is the gateway's. */
export interface ExchangeParts {
  readonly plugins: Plugins;
  readonly sources: Sources;
  readonly functions: Functions;
  readonly server: PublicServer;
  readonly invocations: Invocations;
  readonly product: string;
  readonly logger: Logger;
  /** Aborts when the gateway is to stop. */
  readonly signal: AbortSignal;
}

/** What is taken out of service has this to come to an end, where there is no drain left to wait for. */
const stopMs = 2000;

/**
 * One reload of a running gateway, all or nothing. What is new is started beside what is there; then connectors whose
 * source must not be taken from twice change over; then, in one turn of the event loop, everything is put in force. Up
 * to there any failure brings back what was. Only then does the old end, drained.
 */
export class Exchange {
  readonly #before: Config;
  readonly #after: Config;
  readonly #changes: Changes;
  readonly #parts: ExchangeParts;
  /** Everything that was there before. */
  readonly #known: ReadonlySet<PluginInstance>;
  readonly #old: ReadonlyMap<string, RunningConnector>;
  /** What has been started and is in use under its name, and what had that name before. */
  readonly #connections = new Map<string, RunningConnection | undefined>();
  readonly #providers = new Map<string, Provider | undefined>();
  /** By function: where it has been deployed. */
  readonly #placed = new Map<string, Provider>();
  readonly #started: RunningConnector[] = [];
  /** Connectors that have ended, so that their successors could be started. */
  readonly #ended = new Set<string>();

  constructor(before: Config, after: Config, changes: Changes, parts: ExchangeParts) {
    this.#before = before;
    this.#after = after;
    this.#changes = changes;
    this.#parts = parts;
    this.#known = new Set(parts.plugins.instances);
    this.#old = new Map(parts.plugins.connectors.map((running) => [running.instance.name, running]));
  }

  /** Rejects with the reason when it could not be, and everything is as it was. `inForce` is called once it is. */
  async run(inForce: () => void): Promise<void> {
    const { signal, server } = this.#parts;
    try {
      await this.#startParts();
      await this.#placeFunctions();
      await this.#changeOver();
      signal.throwIfAborted();
      server.serve(this.#routes());
    } catch (error) {
      await this.#bringBack();
      throw error;
    }
    this.#commit();
    inForce();
    await this.#takeOut();
  }

  async #startParts(): Promise<void> {
    const { plugins, signal } = this.#parts;
    const { connections, stores, queues, providers } = this.#changes;
    const wanted = (section: 'connections' | 'stores' | 'queues' | 'providers'): PluginConfig[] =>
      begun(this.#changes[section]).flatMap((name) => this.#after[section].get(name) ?? []);
    if (begun(connections).length > 0) {
      const dialled = new Map<string, RunningConnection>();
      await plugins.startConnections(wanted('connections'), dialled);
      this.#check();
      putAll(dialled, plugins.connections, this.#connections);
    }
    if (stores.added.length > 0) await plugins.startStores(wanted('stores'));
    if (queues.added.length > 0) await plugins.startQueues(wanted('queues'));
    const made = new Map<string, Provider>();
    if (begun(providers).length > 0) await plugins.startProviders(wanted('providers'), made);
    this.#check();
    putAll(made, plugins.providers, this.#providers);
    signal.throwIfAborted();
  }

  /** They run as they did, or are not found, until the catalog says otherwise. */
  async #placeFunctions(): Promise<void> {
    const { functions, signal } = this.#parts;
    for (const name of begun(this.#changes.functions)) {
      const config = this.#after.functions.get(name);
      if (!config) continue;
      const provider = functions.providerOf(config);
      this.#placed.set(name, provider);
      await functions.place(config, provider);
      signal.throwIfAborted();
    }
  }

  /**
   * Callers over HTTP are answered by the old connector until the new one can. Any other source is not taken from by two
   * at once: the old one ends first, removed ones included, since a new one may be the same under another name.
   */
  async #changeOver(): Promise<void> {
    const { added, changed, removed } = this.#changes.connectors;
    const hasRoutes = (name: string): boolean => this.#old.get(name)?.routes !== undefined;
    for (const name of changed.filter(hasRoutes)) await this.#start(name);
    await allOf(removed.filter((name) => !hasRoutes(name)).map((name) => this.#end(name)));
    await allOf(
      changed
        .filter((name) => !hasRoutes(name))
        .map(async (name) => {
          await this.#end(name);
          await this.#start(name);
        }),
    );
    for (const name of added) await this.#start(name);
  }

  async #start(name: string): Promise<void> {
    const { plugins, invocations, product, signal } = this.#parts;
    const config = this.#after.connectors.get(name);
    if (!config) return;
    signal.throwIfAborted();
    const running = await plugins.startConnector(config, invocations, product);
    if (running) this.#started.push(running);
    else this.#check();
  }

  /** Takes no more, lets what it has come to its end, and stops it. */
  async #end(name: string): Promise<void> {
    const { plugins, sources, signal, logger } = this.#parts;
    const running = this.#old.get(name);
    if (!running || this.#ended.has(name)) return;
    this.#ended.add(name);
    const { drain } = this.#after.gateway.shutdown;
    // What came by its routes, which are not answered any more, still has to get in. Nobody waits for one that failed.
    if (!running.routes) sources.leave(running);
    const drainMs = running.instance.state === 'running' ? drain : 0;
    if (!(await within(running.credit.whenIdle(), drainMs, signal))) {
      signal.throwIfAborted(); // The gateway drains and stops it.
      logger.warn(
        { connector: name, inFlight: running.inFlight },
        'the drain deadline has passed: a connector is ended',
      );
      sources.abortConnector(running);
      await within(running.credit.whenIdle(), stopMs);
    }
    sources.remove(running);
    await plugins.retireConnector(running, stopMs);
  }

  /** Routes of what is going to be there. */
  #routes(): OwnRoutes[] {
    const { changed, removed } = this.#changes.connectors;
    const leaving = new Set([...changed, ...removed].map((name) => this.#old.get(name)));
    return this.#parts.plugins.connectors.flatMap((running) => (leaving.has(running) ? [] : (running.routes ?? [])));
  }

  /** In one turn of the event loop, so that nobody meets half of it. */
  #commit(): void {
    const { plugins, sources, functions } = this.#parts;
    for (const name of [...begun(this.#changes.functions), ...this.#changes.policies]) {
      const config = this.#after.functions.get(name);
      if (config) functions.put(config);
    }
    for (const name of this.#changes.queues.added) {
      const queue = plugins.queues.get(name);
      if (queue) sources.addQueue(name, queue);
    }
    for (const running of this.#started) sources.addConnector(running);
  }

  /** What is not wanted any more ends in its own time; what goes wrong with that is logged. */
  async #takeOut(): Promise<void> {
    const { plugins, functions, signal } = this.#parts;
    const { connectors, connections, providers } = this.#changes;
    const gone = new Set([...connectors.changed, ...connectors.removed]);
    await Promise.allSettled([...gone].map((name) => this.#end(name)));
    if (signal.aborted) return; // The gateway stops what is left.
    for (const name of this.#changes.functions.removed) await functions.remove(name);
    for (const [name, provider] of this.#placed) {
      const old = this.#before.functions.get(name)?.provider;
      const left = old === undefined ? undefined : (this.#providers.get(old) ?? plugins.providers.get(old));
      if (left && left !== provider) await functions.leave(left, name);
    }
    for (const name of connections.removed) plugins.connections.delete(name);
    for (const name of providers.removed) plugins.providers.delete(name);
    const retiring = [...this.#known].filter(({ type, name }) => {
      if (type === 'connector') return gone.has(name);
      const { changed, removed } = type === 'connection' ? connections : providers;
      return (type === 'connection' || type === 'provider') && [...changed, ...removed].includes(name);
    });
    const { drain } = this.#after.gateway.shutdown;
    await Promise.all(retiring.map((instance) => plugins.retire(instance, drain)));
    for (const name of connectors.removed) plugins.forgetMeasures('connector', name);
  }

  /** Everything as it was before. */
  async #bringBack(): Promise<void> {
    const { plugins, sources, functions, server, invocations, product, signal } = this.#parts;
    for (const running of this.#started) await plugins.retireConnector(running, stopMs);
    putBack(this.#connections, plugins.connections);
    putBack(this.#providers, plugins.providers);
    for (const [name, provider] of this.#placed) {
      const config = this.#before.functions.get(name);
      const isSame = config && plugins.providers.get(config.provider) === provider;
      if (isSame) await functions.placeBack(config, provider);
      else await functions.leave(provider, name);
    }
    for (const name of this.#changes.queues.added) plugins.queues.delete(name);
    for (const name of this.#changes.stores.added) plugins.stores.delete(name);
    for (const instance of plugins.instances.toReversed()) {
      if (!this.#known.has(instance)) await plugins.retire(instance, stopMs);
    }
    if (signal.aborted) return;
    for (const name of this.#ended) {
      const config = this.#before.connectors.get(name);
      const running = config && (await plugins.startConnector(config, invocations, product));
      if (running) sources.addConnector(running);
    }
    server.serve(plugins.connectors.flatMap(({ routes }) => routes ?? []));
  }

  /** @throws MillraceError when something that was started for this has failed. */
  #check(): void {
    const failed = this.#parts.plugins.failed().find((instance) => !this.#known.has(instance));
    if (!failed) return;
    const { type, name, error } = failed;
    throw new MillraceError('plugin.failed', `${type} "${name}" could not be started: ${error ?? 'unknown'}`);
  }
}

/** What has to be started. */
function begun({ added, changed }: PartChanges): string[] {
  return [...changed, ...added];
}

/** Every one to its end; then the first that failed is what failed. */
async function allOf(promises: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(promises)).find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

/** Puts what is new in the place of what was there, which is kept in mind. */
function putAll<Part>(
  made: ReadonlyMap<string, Part>,
  into: Map<string, Part>,
  before: Map<string, Part | undefined>,
): void {
  for (const [name, part] of made) {
    before.set(name, into.get(name));
    into.set(name, part);
  }
}

function putBack<Part>(before: ReadonlyMap<string, Part | undefined>, into: Map<string, Part>): void {
  for (const [name, part] of before) {
    if (part === undefined) into.delete(name);
    else into.set(name, part);
  }
}
