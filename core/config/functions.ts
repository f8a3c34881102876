import type { z } from 'zod';
import type { ProviderDefinition } from '../contracts/definition.ts';
import type { FunctionPolicy, RetryPolicy } from '../contracts/policy.ts';
import { isOwnFunction, systemNamespace } from '../contracts/provider.ts';
import { annotatedOf, retryAsAnnotated } from './annotations.ts';
import { qualified } from '../kit/names.ts';
import { frozen, isMap, mapEntries, without } from './entries.ts';
import { type Findings, gatherSecrets } from './findings.ts';
import { parsePart, problem } from './issues.ts';
import {
  type FunctionConfig,
  functionSchema,
  type PluginConfig,
  retryPolicyOf,
  retrySchema,
  scalePolicyOf,
} from './schema.ts';
import { didYouMean } from './suggest.ts';

const commonKeys = Object.keys(functionSchema.shape);

/** What functions refer to. */
export interface FunctionContext {
  readonly namespace: string;
  readonly providers: ReadonlyMap<string, PluginConfig>;
  /** Names in the file, of whatever is wrong with its settings: that has been told already. */
  readonly declaredProviders: readonly string[];
  readonly retryOf: (retry: string | z.output<typeof retrySchema>, at: readonly string[]) => RetryPolicy;
}

/** What `functionSchema` makes of an entry. */
type CommonSettings = z.output<typeof functionSchema>;

/**
 * Every function by its full name; those with a mistake are left out, and told. `checked`: what the root schema made of
 * them; nothing where it found a mistake in any.
 */
export function functionsOf(
  entries: unknown,
  checked: Readonly<Record<string, CommonSettings>>,
  context: FunctionContext,
  findings: Findings,
): ReadonlyMap<string, FunctionConfig> {
  const found = new Map<string, FunctionConfig>();
  for (const [name, entry] of mapEntries(entries)) {
    const at = ['functions', name];
    const common = Object.hasOwn(checked, name)
      ? checked[name]
      : parsePart(functionSchema, entry, at, findings.source).value;
    const made = functionOf(name, entry, common, at, context, findings);
    if (!made) continue;
    if (found.has(made.name)) {
      findings.problems.push(problem(['functions', name], `function ${made.name} is defined twice`, findings.source));
    }
    found.set(made.name, made);
  }
  return found;
}

/**
 * One function, out of what was written of it; undefined, and told, when something is wrong. `common`: the entry as
 * `functionSchema` has it, for the caller to check and to tell of; undefined when it has a mistake.
 */
export function functionOf(
  name: string,
  entry: Readonly<Record<string, unknown>>,
  common: CommonSettings | undefined,
  at: readonly string[],
  context: FunctionContext,
  findings: Findings,
): FunctionConfig | undefined {
  const { source, problems } = findings;
  if (isOwnFunction(qualified(name, context.namespace))) {
    problems.push(problem(at, `the namespace "${systemNamespace}" is Millrace's own`, source));
    return undefined;
  }
  const plugin = providerOf(entry, at, context, findings);
  if (!plugin) return undefined;
  const schema = strictSchemaOf(plugin.definition as ProviderDefinition);
  const own = without(entry, commonKeys);
  const parsed = parsePart(schema, own, at, source, commonKeys);
  problems.push(...parsed.problems);
  if (parsed.problems.length > 0 || !common) return undefined;
  gatherSecrets(schema, own, at, findings);
  const { env, labels, annotations } = common;
  const annotated = annotatedOf(labels, annotations, env);
  for (const { path, message } of annotated.problems) problems.push(problem([...at, ...path], message, source));
  const invoke = { ...annotated.invoke, ...mapOf(entry['invoke']) };
  const scale = { ...annotated.scale, ...mapOf(entry['scale']) };
  const isScaled = Object.keys(scale).length > 0 || entry['scale'] !== undefined;
  const isAnnotated = Object.keys(annotated.invoke).length + Object.keys(annotated.scale).length > 0;
  const whole = isAnnotated
    ? parsePart(functionSchema, { invoke, ...(isScaled && { scale }) }, at, source)
    : { value: common, problems: [] };
  problems.push(...whole.problems);
  if (!whole.value || annotated.problems.length > 0) return undefined;
  const retry = context.retryOf(whole.value.invoke.retry, [...at, 'invoke', 'retry']);
  // The YAML's own word wins over annotations.
  const wishes = 'retry' in invoke ? undefined : annotated.retry;
  const auth = common.auth ?? annotated.auth;
  const saysNothing = !isAnnotated && !wishes && !auth && entry['invoke'] === undefined && !isScaled;
  const policy = (saysNothing && plainPolicies.get(retry)) || {
    auth,
    ...policyOf(whole.value, wishes ? retryAsAnnotated(retry, wishes) : retry, context.namespace),
  };
  if (saysNothing) plainPolicies.set(retry, policy);
  return frozen({
    name: qualified(name, context.namespace),
    provider: plugin.name,
    config: parsed.value,
    env: orNothing(env),
    labels: orNothing(labels),
    annotations: orNothing(annotations),
    policy,
  });
}

/** The policy of all functions that say nothing of it, by the retry policy that is then theirs: of thousands most are such. */
const plainPolicies = new WeakMap<RetryPolicy, FunctionPolicy>();

const nothing: Readonly<Record<string, string>> = Object.freeze({});

/** One empty map for all that are empty. */
function orNothing(map: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.keys(map).length === 0 ? nothing : map;
}

/** Zod compiles a schema when it is first used, which takes longer than using it does. */
const strictSchemas = new WeakMap<ProviderDefinition, z.ZodObject>();

function strictSchemaOf(definition: ProviderDefinition): z.ZodObject {
  const schema = strictSchemas.get(definition) ?? definition.functionConfig.strict();
  strictSchemas.set(definition, schema);
  return schema;
}

function policyOf(
  { invoke, scale }: CommonSettings,
  retry: RetryPolicy,
  namespace: string,
): Omit<FunctionPolicy, 'auth'> {
  return {
    timeoutMs: invoke.timeout,
    concurrency: invoke.concurrency,
    perReplica: invoke.perReplica,
    waiting: invoke.waiting,
    queue: invoke.queue,
    retry,
    priority: invoke.priority,
    maxAgeMs: invoke.maxAge,
    result: { store: invoke.result.store, ttlMs: invoke.result.ttl },
    onSuccess: invoke.onSuccess.map((next) => qualified(next.function, namespace)),
    onFailure: invoke.onFailure.map((next) => qualified(next.function, namespace)),
    scale: scale && scalePolicyOf(scale),
  };
}

function mapOf(value: unknown): Readonly<Record<string, unknown>> {
  return isMap(value) ? value : {};
}

function providerOf(
  entry: Readonly<Record<string, unknown>>,
  at: readonly string[],
  { providers, declaredProviders }: FunctionContext,
  { source, problems }: Findings,
): PluginConfig | undefined {
  const named = entry['provider'];
  if (named !== undefined && typeof named !== 'string') return undefined; // The root schema says so.
  const name = named ?? (declaredProviders.length === 1 ? declaredProviders[0] : undefined);
  if (name === undefined) {
    const text = declaredProviders.length === 0 ? 'no provider is configured' : 'name its provider';
    const known = declaredProviders.length === 0 ? '' : `: ${declaredProviders.join(', ')}`;
    problems.push(problem(at, `${text}${known}`, source));
  } else if (!declaredProviders.includes(name)) {
    const hint = didYouMean(name, declaredProviders) || `; known: ${declaredProviders.join(', ') || 'none'}`;
    problems.push(problem([...at, 'provider'], `no provider "${name}"${hint}`, source));
  }
  return name === undefined ? undefined : providers.get(name);
}

/** Named policies, the built-in ones included; redefined by those of the file. */
export function retriesOf(entries: unknown): ReadonlyMap<string, RetryPolicy> {
  const retries = new Map([
    ['standard', retryPolicyOf(retrySchema.parse({}))],
    ['once', retryPolicyOf(retrySchema.parse({ attempts: 1 }))],
  ]);
  for (const [name, entry] of mapEntries(entries)) {
    // One with a mistake is told by the root schema; its name is known all the same.
    const parsed = retrySchema.safeParse(entry);
    retries.set(name, retryPolicyOf(parsed.success ? parsed.data : retrySchema.parse({})));
  }
  return retries;
}
