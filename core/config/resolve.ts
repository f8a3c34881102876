import { z } from 'zod';
import type { PluginDefinition, PluginType, ProviderDefinition } from '../contracts/definition.ts';
import { messageOf } from '../contracts/errors.ts';
import type { RetryPolicy } from '../contracts/policy.ts';
import type { Registry } from '../host/registry.ts';
import { parsePart, problem, type Source } from './issues.ts';
import type { ConfigDefaults } from './load.ts';
import type { Problem } from './problem.ts';
import { secretFields, secretsOf } from './redact.ts';
import { crossCheck } from './rules.ts';
import {
  type Config,
  type ConnectorConfig,
  type FunctionConfig,
  functionSchema,
  type PluginConfig,
  type RootConfig,
  retryPolicyOf,
  retrySchema,
  rootSchema,
} from './schema.ts';
import { didYouMean } from './suggest.ts';

type Section = 'queues' | 'stores' | 'providers' | 'connectors';
const typeOf: Readonly<Record<Section, PluginType>> = {
  queues: 'queue',
  stores: 'store',
  providers: 'provider',
  connectors: 'connector',
};

/**
 * Makes the configuration of the plain data: first the part that every file has, then each plugin's own by the schema
 * of its definition, then the rules between them. Undefined when a part is missing; what is wrong is in `problems`.
 */
export async function resolveConfig(
  value: Record<string, unknown>,
  source: Source,
  registry: Registry,
  defaults: ConfigDefaults,
  problems: Problem[],
): Promise<Config | undefined> {
  const secrets: string[] = [];
  withDefaults(value, defaults);
  const root = parsePart(rootSchema, value, [], source);
  problems.push(...root.problems);

  // Plugins are checked even if something else is wrong: everything is to be found in one go.
  const plugins = new Map<Section, Map<string, PluginConfig>>();
  for (const section of Object.keys(typeOf) as Section[]) {
    plugins.set(section, await pluginsOf(section, value[section]));
  }
  const providers = plugins.get('providers') ?? new Map<string, PluginConfig>();
  const retries = retriesOf(root.value);
  const namespace = root.value?.gateway.namespace ?? 'openfaas-fn';
  const functions = functionsOf(value['functions']);
  if (root.value) secrets.push(...secretsOf(rootSchema, value));
  if (!root.value) return undefined;

  const { gateway, observability } = root.value;
  const config: Config = {
    gateway: {
      ...gateway,
      callbacks: { ...gateway.callbacks, retry: retryOf(gateway.callbacks.retry, ['gateway', 'callbacks', 'retry']) },
    },
    observability,
    queues: plugins.get('queues') ?? new Map(),
    stores: plugins.get('stores') ?? new Map(),
    providers,
    connectors: connectorsOf(root.value, plugins.get('connectors') ?? new Map()),
    functions,
    standardRetry: retries.get('standard') ?? retryPolicyOf(retrySchema.parse({})),
    secrets,
  };
  problems.push(...crossCheck(config, source));
  return config;

  async function pluginsOf(section: Section, entries: unknown): Promise<Map<string, PluginConfig>> {
    const found = new Map<string, PluginConfig>();
    for (const [name, entry] of mapEntries(entries)) {
      const { kind, ...rest } = entry;
      if (typeof kind !== 'string') continue; // The root schema says so.
      const definition = await definitionOf(section, name, kind);
      if (!definition) continue;
      const own = section === 'connectors' ? without(rest, ['enabled', 'credit']) : rest;
      const parsed = parsePart(definition.config, own, [section, name], source);
      problems.push(...parsed.problems);
      if (parsed.problems.length > 0) continue;
      secrets.push(...secretsOf(definition.config, own));
      for (const path of literalSecrets(definition.config, own)) {
        if (!source.interpolated([section, name, ...path])) {
          const text = 'a secret stands in the file; ${file:/run/secrets/…} or ${VAR} keeps it out';
          problems.push(problem([section, name, ...path], text, source, 'warning'));
        }
      }
      found.set(name, { name, kind, definition, config: parsed.value });
    }
    return found;
  }

  async function definitionOf(section: Section, name: string, kind: string): Promise<PluginDefinition | undefined> {
    const type = typeOf[section];
    try {
      const definition = await registry.find(type, kind);
      if (definition) return definition;
      const known = registry.kinds(type);
      const text = `unknown kind "${kind}"${didYouMean(kind, known) || ';'} known: ${known.join(', ')}`;
      problems.push(problem([section, name, 'kind'], text, source));
    } catch (error) {
      problems.push(problem([section, name, 'kind'], `the plugin cannot be loaded: ${messageOf(error)}`, source));
    }
    return undefined;
  }

  function functionsOf(entries: unknown): Map<string, FunctionConfig> {
    const found = new Map<string, FunctionConfig>();
    for (const [name, entry] of mapEntries(entries)) {
      const at = ['functions', name];
      const named = typeof entry['provider'] === 'string' ? entry['provider'] : undefined;
      const provider = named ?? [...providers.keys()][0];
      if (named === undefined && providers.size > 1) {
        problems.push(problem(at, `name its provider: ${[...providers.keys()].join(', ')}`, source));
        continue;
      }
      const plugin = provider === undefined ? undefined : providers.get(provider);
      if (provider === undefined || !plugin) {
        const declared = mapEntries(value['providers']).some(([declaredName]) => declaredName === provider);
        const text = `no provider "${provider}"${didYouMean(provider ?? '', [...providers.keys()])}`;
        if (!declared) problems.push(problem([...at, 'provider'], text, source));
        continue;
      }
      const schema = z.strictObject((plugin.definition as ProviderDefinition).functionConfig.shape);
      const own = without(entry, ['provider', 'env', 'labels', 'annotations', 'invoke']);
      const parsed = parsePart(schema, own, at, source);
      problems.push(...parsed.problems.map((one) => withCommonKeys(one, Object.keys(schema.shape))));
      const common = parsePart(functionSchema, entry, at, source);
      if (parsed.problems.length > 0 || !common.value) continue; // The root schema has told about the common part.
      const { env, labels, annotations, invoke } = common.value;
      const fullName = qualified(name);
      if (found.has(fullName)) problems.push(problem(at, `function ${fullName} is defined twice`, source));
      found.set(fullName, {
        name: fullName,
        provider,
        config: parsed.value,
        env,
        labels,
        annotations,
        policy: {
          timeoutMs: invoke.timeout,
          concurrency: invoke.concurrency,
          waiting: invoke.waiting,
          queue: invoke.queue,
          retry: retryOf(invoke.retry, [...at, 'invoke', 'retry']),
          priority: invoke.priority,
          maxAgeMs: invoke.maxAge,
          result: { store: invoke.result.store, ttlMs: invoke.result.ttl },
          onSuccess: invoke.onSuccess.map(({ function: next }) => qualified(next)),
          onFailure: invoke.onFailure.map(({ function: next }) => qualified(next)),
        },
      });
    }
    return found;
  }

  function qualified(name: string): string {
    return name.includes('.') ? name : `${name}.${namespace}`;
  }

  /** An unknown key of a function may be a misspelt common one, which the provider's schema does not know. */
  function withCommonKeys(one: Problem, own: readonly string[]): Problem {
    if (!one.message.startsWith('unknown key')) return one;
    const key = one.path.split('.').at(-1) ?? '';
    return {
      ...one,
      message: `unknown key${didYouMean(key, [...own, 'provider', 'env', 'labels', 'annotations', 'invoke'])}`,
    };
  }

  function retryOf(retry: string | z.output<typeof retrySchema>, at: readonly string[]): RetryPolicy {
    if (typeof retry !== 'string') return retryPolicyOf(retry);
    const policy = retries.get(retry);
    if (policy) return policy;
    const text = `no retry policy "${retry}"${didYouMean(retry, [...retries.keys()]) || `; known: ${[...retries.keys()].join(', ')}`}`;
    problems.push(problem(at, text, source));
    return retryPolicyOf(retrySchema.parse({}));
  }
}

function retriesOf(root: RootConfig | undefined): ReadonlyMap<string, RetryPolicy> {
  const retries = new Map([
    ['standard', retryPolicyOf(retrySchema.parse({}))],
    ['once', retryPolicyOf(retrySchema.parse({ attempts: 1 }))],
  ]);
  for (const [name, retry] of Object.entries(root?.policies.retry ?? {})) retries.set(name, retryPolicyOf(retry));
  return retries;
}

function connectorsOf(root: RootConfig, plugins: ReadonlyMap<string, PluginConfig>): Map<string, ConnectorConfig> {
  return new Map(
    [...plugins].map(([name, plugin]) => {
      const common = root.connectors[name];
      return [name, { ...plugin, enabled: common?.enabled ?? true, credit: common?.credit ?? 64 }];
    }),
  );
}

/** A part that the file does not mention is as main has it; connectors are added unless one of their kind is there. */
function withDefaults(value: Record<string, unknown>, defaults: ConfigDefaults): void {
  for (const section of ['queues', 'stores', 'providers'] as const) {
    if (mapEntries(value[section]).length === 0 && (value[section] === undefined || value[section] === null)) {
      value[section] = structuredClone(defaults[section]);
    }
  }
  const present = new Set(mapEntries(value['connectors']).map(([, { kind }]) => kind));
  for (const [name, connector] of Object.entries(defaults.connectors)) {
    if (present.has(connector.kind)) continue;
    const connectors = (value['connectors'] ??= {});
    if (typeof connectors === 'object' && connectors !== null && !Object.hasOwn(connectors, name)) {
      Object.assign(connectors, { [name]: structuredClone(connector) });
    }
  }
}

/** The entries that are maps themselves; the schema tells about the others. */
function mapEntries(value: unknown): [string, Record<string, unknown>][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  return Object.entries(value).filter(
    (entry): entry is [string, Record<string, unknown>] =>
      typeof entry[1] === 'object' && entry[1] !== null && !Array.isArray(entry[1]),
  );
}

function without(record: Readonly<Record<string, unknown>>, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}

function* literalSecrets(schema: z.ZodType, value: unknown): Iterable<readonly (string | number)[]> {
  for (const { path } of secretFields(schema, value)) yield path;
}
