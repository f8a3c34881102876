import type { z } from 'zod';
import type { PluginDefinition, PluginType } from '../contracts/definition.ts';
import { messageOf } from '../contracts/errors.ts';
import type { RetryPolicy } from '../contracts/policy.ts';
import type { Registry } from '../host/registry.ts';
import { qualified } from '../kit/names.ts';
import { authOf } from './auth.ts';
import { connectionOf, unusedConnections } from './connections.ts';
import { frozen, isMap, mapEntries, namesOf, without } from './entries.ts';
import { type FileFindings, gatherSecrets } from './findings.ts';
import { functionsOf, retriesOf } from './functions.ts';
import { parsePart, problem } from './issues.ts';
import { lint } from './lint.ts';
import type { ConfigDefaults } from './load.ts';
import { messageSchema, messageSchemaOf, type MessageSettings } from './messages.ts';
import { missingPackages } from './packages.ts';
import { crossCheck } from './rules.ts';
import {
  type Config,
  type ConnectorConfig,
  connectorSchema,
  type PluginConfig,
  pluginSchema,
  type ProviderConfig,
  providerSchema,
  type RootConfig,
  retryPolicyOf,
  retrySchema,
  rootSchema,
} from './schema.ts';
import { didYouMean } from './suggest.ts';
import { dnsLabel } from './units.ts';

/** Messages of a broker that may be unsettled at once. */
const standardCredit = 64;

/** The keys that are the host's. */
const hostSchemas = {
  connections: pluginSchema,
  queues: pluginSchema,
  stores: pluginSchema,
  providers: providerSchema,
  connectors: connectorSchema,
} as const;
type Section = 'connections' | 'queues' | 'stores' | 'providers' | 'connectors';
const typeOf: Readonly<Record<Section, PluginType>> = {
  connections: 'connection',
  queues: 'queue',
  stores: 'store',
  providers: 'provider',
  connectors: 'connector',
};

/**
 * Makes the configuration of the plain data: first the part that every file has, then each plugin's own by the schema
 * of its definition, then the rules between them. Each is checked even if another one is wrong, since everything is to
 * be found in one go: the result is to be used only if `findings` has no error.
 */
export async function resolveConfig(
  value: Record<string, unknown>,
  registry: Registry,
  defaults: ConfigDefaults,
  findings: FileFindings,
): Promise<Config> {
  const { source, problems } = findings;
  withDefaults(value, defaults);
  const parsed = parsePart(rootSchema, value, [], source);
  for (const one of parsed.problems) problems.push(one);
  const root = parsed.value ?? salvaged(value);
  gatherSecrets(rootSchema, value, [], findings);

  const messages = new Map<string, MessageSettings>();
  const connections = await pluginsOf('connections');
  const queues = await pluginsOf('queues');
  const stores = await pluginsOf('stores');
  const providers = providersOf(root, await pluginsOf('providers'));
  const connectors = await pluginsOf('connectors');
  const retries = retriesOf(isMap(value['policies']) ? value['policies']['retry'] : undefined);
  const { namespace } = root.gateway;
  const declaredProviders = namesOf(value['providers']);
  const context = { namespace, providers, declaredProviders, retryOf };
  const { gateway, observability } = root;
  const config: Config = {
    gateway: {
      ...gateway,
      auth: authOf(gateway.auth, findings),
      callbacks: { ...gateway.callbacks, retry: retryOf(gateway.callbacks.retry, ['gateway', 'callbacks', 'retry']) },
    },
    observability,
    connections,
    queues,
    stores,
    providers,
    connectors: connectorsOf(root, connectors, messages),
    functions: functionsOf(value['functions'], root.functions, context, findings),
    tests: root.tests,
    standardRetry: retryOf('standard', []),
    secrets: findings.secrets,
  };
  const functionPaths = new Map(
    namesOf(value['functions']).map((name) => [qualified(name, namespace), ['functions', name]]),
  );
  const declared = { source, functionPaths, queues: namesOf(value['queues']) };
  for (const one of crossCheck(config, declared)) problems.push(one);
  // Of what is wrong in itself nothing more need be said.
  if (!problems.some(({ severity }) => severity === 'error')) problems.push(...lint(config, source));
  const users = [queues, stores, providers, connectors].flatMap((plugins) => [...plugins.values()]);
  for (const one of unusedConnections(connections.keys(), users, findings)) problems.push(one);
  return config;

  async function pluginsOf(section: Section): Promise<Map<string, PluginConfig>> {
    const found = new Map<string, PluginConfig>();
    for (const [name, entry] of mapEntries(value[section])) {
      const { kind } = entry;
      if (typeof kind !== 'string') {
        // The root schema says so; what the other keys should be cannot be known.
        const meant = kind === undefined && Object.keys(entry).find((key) => didYouMean(key, ['kind']) !== '');
        if (meant) problems.push(problem([section, name, meant], 'unknown key, did you mean "kind"?', source));
        continue;
      }
      const definition = await definitionOf(section, name, kind);
      if (!definition) continue;
      const missing = missingPackages(definition);
      if (missing !== undefined) problems.push(problem([section, name, 'kind'], missing, source));
      const traits = definition.type === 'connector' ? definition.messages : undefined;
      const messageKeys = traits ? Object.keys(messageSchema.shape) : [];
      const hostKeys = Object.keys(hostSchemas[section].shape);
      const commonKeys = [...hostKeys, ...messageKeys];
      const own = without(entry, commonKeys);
      const part = parsePart(definition.config, own, [section, name], source, commonKeys);
      for (const one of part.problems) problems.push(one);
      if (traits) {
        const about = Object.fromEntries(messageKeys.flatMap((key) => (key in entry ? [[key, entry[key]]] : [])));
        const parsed = parsePart(messageSchemaOf(traits), about, [section, name], source);
        for (const one of parsed.problems) problems.push(one);
        if (parsed.value) messages.set(name, frozen(parsed.value));
        else continue;
      }
      const connection = connectionOf(definition, entry, [section, name], value['connections'], findings);
      if (part.problems.length > 0) continue;
      gatherSecrets(definition.config, own, [section, name], findings);
      // The definition is the plugin's own, and stays as it is.
      found.set(name, Object.freeze({ name, kind, definition, config: frozen(part.value), connection }));
    }
    return found;
  }

  async function definitionOf(section: Section, name: string, kind: string): Promise<PluginDefinition | undefined> {
    const type = typeOf[section];
    try {
      const definition = await registry.find(type, kind);
      if (definition) return definition;
      const known = registry.kinds(type);
      const text = `unknown kind "${kind}"${didYouMean(kind, known) || ';'} known: ${known.join(', ') || 'none'}`;
      problems.push(problem([section, name, 'kind'], text, source));
    } catch (error) {
      problems.push(problem([section, name, 'kind'], `the plugin cannot be loaded: ${messageOf(error)}`, source));
    }
    return undefined;
  }

  function retryOf(retry: string | z.output<typeof retrySchema>, at: readonly string[]): RetryPolicy {
    if (typeof retry !== 'string') return retryPolicyOf(retry);
    const policy = retries.get(retry);
    if (policy) return policy;
    const known = [...retries.keys()];
    const text = `no retry policy "${retry}"${didYouMean(retry, known) || `; known: ${known.join(', ')}`}`;
    problems.push(problem(at, text, source));
    return retryPolicyOf(retrySchema.parse({}));
  }
}

/** The root as far as it is valid, so that the rest can be checked although something in it is wrong. */
function salvaged(value: Readonly<Record<string, unknown>>): RootConfig {
  const kept = Object.entries(rootSchema.shape).filter(([key, schema]) => schema.safeParse(value[key]).success);
  const namespace = isMap(value['gateway']) ? dnsLabel.safeParse(value['gateway']['namespace']) : undefined;
  return rootSchema.parse({
    ...(namespace?.success && { gateway: { namespace: namespace.data } }),
    ...Object.fromEntries(kept.map(([key]) => [key, value[key]])),
  });
}

function providersOf(root: RootConfig, plugins: ReadonlyMap<string, PluginConfig>): Map<string, ProviderConfig> {
  return new Map(
    [...plugins].map(([name, plugin]) => {
      const { allowDeploy } = root.providers[name] ?? providerSchema.parse({ kind: plugin.kind });
      return [name, Object.freeze({ ...plugin, allowDeploy })];
    }),
  );
}

function connectorsOf(
  root: RootConfig,
  plugins: ReadonlyMap<string, PluginConfig>,
  messages: ReadonlyMap<string, MessageSettings>,
): Map<string, ConnectorConfig> {
  return new Map(
    [...plugins].map(([name, plugin]) => {
      const { enabled, credit: written } = root.connectors[name] ?? connectorSchema.parse({ kind: plugin.kind });
      const own = messages.get(name);
      const credit = written ?? (own ? standardCredit : root.gateway.limits.inFlight);
      return [name, Object.freeze({ ...plugin, enabled, credit, messages: own })];
    }),
  );
}

/** A part that the file does not mention is as main has it; connectors are added unless one of their kind is there. */
function withDefaults(value: Record<string, unknown>, defaults: ConfigDefaults): void {
  for (const section of ['queues', 'stores', 'providers'] as const) {
    if (value[section] === undefined) value[section] = structuredClone(defaults[section]);
  }
  const present = new Set(mapEntries(value['connectors']).map(([, { kind }]) => kind));
  for (const [name, connector] of Object.entries(defaults.connectors)) {
    if (present.has(connector.kind)) continue;
    const connectors = (value['connectors'] ??= {});
    if (isMap(connectors) && !Object.hasOwn(connectors, name)) connectors[name] = structuredClone(connector);
  }
}
