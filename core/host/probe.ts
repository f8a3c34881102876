import { Registry } from '../observe/prometheus.ts';
import type { Logger } from 'pino';
import type { Config, PluginConfig } from '../config/schema.ts';
import { withoutSecrets } from '../config/redact.ts';
import { systemClock } from '../contracts/clock.ts';
import { type ErrorCode, messageOf, MillraceError } from '../contracts/errors.ts';
import { Catalog } from '../functions/catalog.ts';
import { Meter } from '../observe/meter.ts';
import { Plugins } from './plugins.ts';

/** Whether one part could be started, and why not. */
export interface Probed {
  readonly type: 'connection' | 'queue' | 'store' | 'connector';
  readonly name: string;
  readonly kind: string;
  /** What a queue promises of what it takes. */
  readonly durability?: string | undefined;
  /** What a start of a connector would make. */
  readonly missing?: readonly string[] | undefined;
  readonly error?: { readonly code: ErrorCode; readonly message: string } | undefined;
}

const stopMs = 2000;

/**
 * Dials every connection, starts each queue and store that works over one, and stops them all again. Nothing is leased
 * or written but what a plugin makes ready at its start; a connector, which would take messages, only compares what is
 * there with what it needs. What works over no broker is left alone: a running gateway may hold its file.
 */
export async function probe(config: Config, logger: Logger, baseFolder: string): Promise<readonly Probed[]> {
  const probed: Probed[] = [];
  const connected = new Set<string>();
  for (const plugin of config.connections.values()) {
    const result = await probeOne('connection', plugin, { connections: only(plugin) });
    if (!result.error) connected.add(plugin.name);
    probed.push(result);
  }
  for (const [type, section] of [
    ['queue', 'queues'],
    ['store', 'stores'],
  ] as const) {
    for (const plugin of config[section].values()) {
      const connection = config.connections.get(plugin.connection ?? '');
      // Without its broker there is nothing to be learnt of it that has not been told.
      if (!connection || !connected.has(connection.name)) continue;
      probed.push(await probeOne(type, plugin, { connections: only(connection), [section]: only(plugin) }));
    }
  }
  for (const connector of config.connectors.values()) {
    const connection = config.connections.get(connector.connection ?? '');
    if (!connector.enabled || !connection || !connected.has(connection.name)) continue;
    probed.push(await probeOne('connector', connector, { connections: only(connection) }));
  }
  return probed;

  /** Starts a gateway's plugins as a gateway does, but these only. */
  async function probeOne(
    type: Probed['type'],
    { name, kind }: PluginConfig,
    parts: Partial<Pick<Config, 'connections' | 'queues' | 'stores'>>,
  ): Promise<Probed> {
    const none = { connections: only(), queues: only(), stores: only() };
    let failure: unknown;
    const registry = new Registry();
    const plugins = new Plugins(
      {
        logger,
        clock: systemClock,
        registry,
        baseFolder,
        onFailure: (_instance, error) => (failure ??= error),
      },
      { ...config, ...none, ...parts },
      { catalog: new Catalog(config.gateway.namespace, systemClock), meter: new Meter(registry) },
    );
    let durability: string | undefined;
    let missing: readonly string[] | undefined;
    try {
      await plugins.startConnections();
      await plugins.startStores();
      await plugins.startQueues();
      durability = plugins.queues.get(name)?.durability;
      const connector = type === 'connector' ? config.connectors.get(name) : undefined;
      if (connector) missing = await plugins.checkConnector(connector);
    } catch (error) {
      failure ??= error;
    }
    await plugins.stop(stopMs);
    if (failure === undefined) return { type, name, kind, durability, missing };
    const code = failure instanceof MillraceError ? failure.code : 'plugin.failed';
    // A client library's own words may hold what it was given.
    return { type, name, kind, error: { code, message: withoutSecrets(messageOf(failure), config) } };
  }
}

function only(plugin?: PluginConfig): ReadonlyMap<string, PluginConfig> {
  return new Map(plugin ? [[plugin.name, plugin]] : []);
}
