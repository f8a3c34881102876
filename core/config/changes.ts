import { isDeepStrictEqual } from 'node:util';
import type { Config, ConnectorConfig, FunctionConfig, PluginConfig } from './schema.ts';

/** Parts of one kind, by name. */
export interface PartChanges {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

/** What stands in the way of a reload: only a restart can do it. */
export interface RestartReason {
  /** Where it stands in the configuration: `queues.default`. */
  readonly path: string;
  /** Why, as the end of a sentence that begins with the path. */
  readonly reason: string;
}

/** What is to be done to get from one configuration to another. What is not named here is not touched. */
export interface Changes {
  readonly connections: PartChanges;
  readonly stores: PartChanges;
  readonly queues: PartChanges;
  readonly providers: PartChanges;
  /** Those that are off are as if they were not there. */
  readonly connectors: PartChanges;
  /** `changed`: deployed anew. */
  readonly functions: PartChanges;
  /** Functions of which only the rules for running them change. */
  readonly policies: readonly string[];
  /** Settings of the gateway itself that take effect at once: `gateway.auth`. */
  readonly settings: readonly string[];
  /** By `connectors.NAME` or `functions.NAME`: which change elsewhere is why they are begun anew. */
  readonly because: ReadonlyMap<string, string>;
  /** If there is any, nothing of the rest may be done. */
  readonly needsRestart: readonly RestartReason[];
}

/** Settings that whoever uses them asks for each time. Every other one is read when the process starts. */
const live = new Set([
  'gateway.auth',
  'gateway.callbacks',
  'gateway.functions',
  'gateway.reload',
  'gateway.shutdown',
  'policies.retry.standard',
]);

/** The difference between two configurations that are valid, and what it takes to go from the old to the new one. */
export function changesOf(before: Config, after: Config): Changes {
  const because = new Map<string, string>();
  const connections = difference(before.connections, after.connections, samePlugin);
  const redialled = new Set([...connections.changed, ...connections.removed]);
  const providers = difference(before.providers, after.providers, samePlugin);
  const renewed = new Set(providers.changed);

  const connectors = difference(enabled(before.connectors), enabled(after.connectors), (one, other) => {
    if (!sameConnector(one, other)) return false;
    const { name, connection } = other;
    if (connection === undefined || !redialled.has(connection)) return true;
    because.set(`connectors.${name}`, `connections.${connection}`);
    return false;
  });
  const policies: string[] = [];
  const functions = difference(before.functions, after.functions, (one, other) => {
    if (!sameDeployment(one, other)) return false;
    if (renewed.has(other.provider)) {
      because.set(`functions.${other.name}`, `providers.${other.provider}`);
      return false;
    }
    if (!isDeepStrictEqual(one.policy, other.policy)) policies.push(other.name);
    return true;
  });
  const queues = difference(before.queues, after.queues, samePlugin);
  const stores = difference(before.stores, after.stores, samePlugin);
  const settings = changedSettings(before, after);
  return {
    connections,
    stores,
    queues,
    providers,
    connectors,
    functions,
    policies,
    settings: [...settings.filter((path) => live.has(path)), ...deployability(before, after)],
    because,
    needsRestart: [
      ...settings
        .filter((path) => !live.has(path))
        .map((path) => ({ path, reason: 'is read when the gateway starts' })),
      ...opened('queues', queues),
      ...opened('stores', stores),
      ...worksOver('queues', before.queues, after.queues, redialled),
      ...worksOver('stores', before.stores, after.stores, redialled),
    ],
  };
}

/** Whether there is nothing to do. */
export function isUnchanged(changes: Changes): boolean {
  const { connections, stores, queues, providers, connectors, functions, policies, settings, needsRestart } = changes;
  const parts = [connections, stores, queues, providers, connectors, functions];
  const lists = parts.flatMap(({ added, changed, removed }) => [added, changed, removed]);
  return [...lists, policies, settings, needsRestart].every(({ length }) => length === 0);
}

/** In one line for people and logs: `connectors.jobs changed, functions.resize added`. */
export function summaryOf(changes: Changes): string {
  const told = linesOf(changes).map(({ path, change }) => `${path} ${change}`);
  return told.length === 0 ? 'nothing has changed' : told.join(', ');
}

/** One thing that a reload does. */
export interface ChangeLine {
  readonly path: string;
  readonly change: 'added' | 'changed' | 'removed' | 'policy changed';
  readonly because: string | undefined;
}

/** Everything that changes, as a list; what needs a restart is not part of it. */
export function linesOf(changes: Changes): readonly ChangeLine[] {
  const { because, policies, settings } = changes;
  const line = (path: string, change: ChangeLine['change']): ChangeLine => ({
    path,
    change,
    because: because.get(path),
  });
  const sections = ['connections', 'stores', 'queues', 'providers', 'connectors', 'functions'] as const;
  return [
    ...settings.map((path) => line(path, 'changed')),
    ...sections.flatMap((section) =>
      (['added', 'changed', 'removed'] as const).flatMap((change) =>
        changes[section][change].map((name) => line(`${section}.${name}`, change)),
      ),
    ),
    ...policies.map((name) => line(`functions.${name}`, 'policy changed')),
  ];
}

/** Whether a provider takes deployments is asked at each of them. */
function deployability(before: Config, after: Config): string[] {
  return [...after.providers.values()]
    .filter(({ name, allowDeploy }) => (before.providers.get(name)?.allowDeploy ?? allowDeploy) !== allowDeploy)
    .map(({ name }) => `providers.${name}.allowDeploy`);
}

function difference<Part>(
  before: ReadonlyMap<string, Part>,
  after: ReadonlyMap<string, Part>,
  isSame: (one: Part, other: Part) => boolean,
): PartChanges {
  const changed: string[] = [];
  for (const [name, part] of after) {
    const old = before.get(name);
    if (old !== undefined && !isSame(old, part)) changed.push(name);
  }
  return {
    added: [...after.keys()].filter((name) => !before.has(name)),
    changed,
    removed: [...before.keys()].filter((name) => !after.has(name)),
  };
}

function samePlugin(one: PluginConfig, other: PluginConfig): boolean {
  if (one === other) return true;
  const { definition, kind, connection, config } = one;
  return (
    // Of a kind that another module brings now: its code is another one.
    definition === other.definition &&
    kind === other.kind &&
    connection === other.connection &&
    isDeepStrictEqual(config, other.config)
  );
}

function sameConnector(one: ConnectorConfig, other: ConnectorConfig): boolean {
  return samePlugin(one, other) && one.credit === other.credit && isDeepStrictEqual(one.messages, other.messages);
}

function sameDeployment(one: FunctionConfig, other: FunctionConfig): boolean {
  if (one === other) return true;
  const { policy: _, ...deployed } = one;
  const { policy: __, ...wanted } = other;
  return isDeepStrictEqual(deployed, wanted);
}

function enabled(connectors: ReadonlyMap<string, ConnectorConfig>): ReadonlyMap<string, ConnectorConfig> {
  return new Map([...connectors].filter(([, connector]) => connector.enabled));
}

/** `gateway.listen`, …: by the second level, which is where each setting belongs to one part of the process. */
function changedSettings(before: Config, after: Config): string[] {
  const standard = isDeepStrictEqual(before.standardRetry, after.standardRetry) ? [] : ['policies.retry.standard'];
  const others = (['gateway', 'observability'] as const).flatMap((section) => {
    const [old, wanted] = [before[section], after[section]] as readonly Readonly<Record<string, unknown>>[];
    const keys = new Set([...Object.keys(old ?? {}), ...Object.keys(wanted ?? {})]);
    return [...keys].filter((key) => !isDeepStrictEqual(old?.[key], wanted?.[key])).map((key) => `${section}.${key}`);
  });
  return [...others, ...standard];
}

/** What may be added while the gateway runs, and not taken away: others hold what it keeps. */
function opened(section: string, { changed, removed }: PartChanges): RestartReason[] {
  const reason = (what: string): string => `has ${what}, and is opened once, when the gateway starts`;
  return [
    ...changed.map((name) => ({ path: `${section}.${name}`, reason: reason('changed') })),
    ...removed.map((name) => ({ path: `${section}.${name}`, reason: reason('been removed') })),
  ];
}

/** What stays as it is, and would lose the connection that it was started with. */
function worksOver(
  section: string,
  before: ReadonlyMap<string, PluginConfig>,
  after: ReadonlyMap<string, PluginConfig>,
  redialled: ReadonlySet<string>,
): RestartReason[] {
  return [...after.values()].flatMap((plugin) => {
    const { name, connection } = plugin;
    const old = before.get(name);
    if (connection === undefined || !redialled.has(connection) || !old || !samePlugin(old, plugin)) return [];
    return [{ path: `connections.${connection}`, reason: `has changed, and ${section}.${name} works over it` }];
  });
}
