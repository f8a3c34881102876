import { z } from 'zod';
import type { ProviderDefinition } from '../contracts/definition.ts';
import { functionAuths, type RetryPolicy } from '../contracts/policy.ts';
import { annotatedAuth, authAnnotation } from '../functions/auth.ts';
import { frozen, mapEntries, without, qualified } from './entries.ts';
import { type Findings, gatherSecrets } from './findings.ts';
import { parsePart, problem } from './issues.ts';
import { type FunctionConfig, functionSchema, type PluginConfig, retryPolicyOf, retrySchema } from './schema.ts';
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

/** Every function by its full name; those with a mistake are left out, and told. */
export function functionsOf(
  entries: unknown,
  context: FunctionContext,
  findings: Findings,
): ReadonlyMap<string, FunctionConfig> {
  const { source, problems } = findings;
  const found = new Map<string, FunctionConfig>();
  for (const [name, entry] of mapEntries(entries)) {
    const at = ['functions', name];
    const plugin = providerOf(entry, at, context, findings);
    if (!plugin) continue;
    const schema = z.strictObject((plugin.definition as ProviderDefinition).functionConfig.shape);
    const own = without(entry, commonKeys);
    const parsed = parsePart(schema, own, at, source, commonKeys);
    for (const one of parsed.problems) problems.push(one);
    const common = parsePart(functionSchema, entry, at, source);
    if (parsed.problems.length > 0 || !common.value) continue; // The root schema has told about the common part.
    gatherSecrets(schema, own, at, findings);
    const { env, labels, annotations, auth, invoke } = common.value;
    const fullName = qualified(name, context.namespace);
    if (found.has(fullName)) problems.push(problem(at, `function ${fullName} is defined twice`, source));
    if (annotatedAuth(annotations) === 'unknown') {
      const text = `expected ${functionAuths.join(', ')}, got "${annotations[authAnnotation]}"`;
      problems.push(problem([...at, 'annotations', authAnnotation], text, source));
    }
    const made: FunctionConfig = {
      name: fullName,
      provider: plugin.name,
      config: parsed.value,
      env,
      labels,
      annotations,
      policy: {
        auth,
        timeoutMs: invoke.timeout,
        concurrency: invoke.concurrency,
        waiting: invoke.waiting,
        queue: invoke.queue,
        retry: context.retryOf(invoke.retry, [...at, 'invoke', 'retry']),
        priority: invoke.priority,
        maxAgeMs: invoke.maxAge,
        result: { store: invoke.result.store, ttlMs: invoke.result.ttl },
        onSuccess: invoke.onSuccess.map((next) => qualified(next.function, context.namespace)),
        onFailure: invoke.onFailure.map((next) => qualified(next.function, context.namespace)),
      },
    };
    found.set(fullName, frozen(made));
  }
  return found;
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
