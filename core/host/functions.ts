import type { Logger } from 'pino';
import type { FunctionConfig, GatewayConfig } from '../config/schema.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import type { Connection } from '../contracts/connection.ts';
import type { FunctionSpec, Provider } from '../contracts/provider.ts';
import type { CallbackSender } from '../delivery/callback.ts';
import { callbackPolicy, callbackProvider, callbackSpec } from '../delivery/callback-provider.ts';
import { replyProvider, replySpec } from '../delivery/reply.ts';
import type { Catalog } from '../functions/catalog.ts';
import type { Plugins } from './plugins.ts';

/** The functions of the configuration, at their providers and in the catalog. */
export class Functions {
  readonly #catalog: Catalog;
  readonly #plugins: Plugins;
  readonly #logger: Logger;

  constructor(catalog: Catalog, plugins: Plugins, logger: Logger) {
    this.#catalog = catalog;
    this.#plugins = plugins;
    this.#logger = logger;
  }

  /** At the start: one that cannot be deployed is in the catalog all the same, and says why it cannot run. */
  async deploy(config: FunctionConfig): Promise<void> {
    const { name, policy } = config;
    const provider = this.#plugins.providers.get(config.provider);
    if (!provider) {
      const text = 'a function was not deployed: its provider is not running';
      this.#logger.error({ function: name, provider: config.provider }, text);
      return;
    }
    const spec = specOf(config);
    this.#catalog.add(spec, policy, provider);
    try {
      await provider.deploy(spec);
    } catch (error) {
      this.#logger.error({ err: error, function: name }, 'a function could not be deployed');
      const message = messageOf(error);
      this.#catalog.report({ name, state: 'failed', replicas: 0, availableReplicas: 0, capacity: 0, message });
    }
  }

  /** @throws MillraceError when the provider of the function does not run. */
  providerOf({ name, provider: wanted }: FunctionConfig): Provider {
    const provider = this.#plugins.providers.get(wanted);
    if (provider) return provider;
    throw new MillraceError(
      'plugin.failed',
      `function ${name} cannot be deployed: provider "${wanted}" is not running`,
    );
  }

  /** Deploys it while calls go on, which are still run as the catalog says. Rejects when it cannot be deployed. */
  async place(config: FunctionConfig, provider: Provider): Promise<void> {
    await provider.deploy(specOf(config));
  }

  /** As above, for one that was deployed so before. */
  async placeBack(config: FunctionConfig, provider: Provider): Promise<void> {
    try {
      await provider.deploy(specOf(config));
    } catch (error) {
      this.#logger.error({ err: error, function: config.name }, 'a function could not be deployed as it was before');
    }
  }

  /** In the catalog from now on, as it has been placed; or with other rules for running it. */
  put(config: FunctionConfig): void {
    const provider = this.#plugins.providers.get(config.provider);
    if (!provider) return;
    this.#catalog.add(specOf(config), config.policy, provider);
    const status = this.#plugins.reported(provider, config.name);
    if (status) this.#catalog.report(status);
  }

  /** Its queued work stays, and runs when it is deployed again. */
  async remove(name: string): Promise<void> {
    const entry = this.#catalog.get(name);
    this.#catalog.remove(name);
    if (entry) await this.leave(entry.provider, name);
  }

  /** Millrace's own function, which calls back. */
  deployCallbacks({ callbacks }: GatewayConfig, sender: CallbackSender): void {
    const [queue] = this.#plugins.queues.keys(); // Its lanes in the other queues are read as soon as they hold anything.
    if (queue === undefined) return;
    const policy = callbackPolicy(queue, callbacks.retry, callbacks.timeout);
    this.#catalog.add(callbackSpec, policy, callbackProvider(sender));
    const connectionOf = (name: string): Connection | undefined => this.#plugins.connections.get(name)?.connection;
    this.#catalog.add(replySpec, policy, replyProvider(connectionOf));
    for (const { name } of [callbackSpec, replySpec]) {
      this.#catalog.report({ name, state: 'ready', replicas: 1, availableReplicas: 1, capacity: 32 });
    }
  }

  /** Another one runs it now, or nobody. Never rejects. */
  async leave(provider: Provider, name: string): Promise<void> {
    try {
      await provider.remove(name);
    } catch (error) {
      this.#logger.error({ err: error, function: name }, 'a provider could not remove a function');
    }
  }
}

/** Frozen: every plugin may see it (`host.functions`), and none may change what others run. */
function specOf({ name, provider, config, env, labels, annotations, deployment }: FunctionConfig): FunctionSpec {
  return Object.freeze({ name, provider, config, env, labels, annotations, deployment });
}
