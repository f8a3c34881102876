import { z } from 'zod';
import type { Deployment, FoundFunction } from '../contracts/deployment.ts';
import type { ProviderDefinition } from '../contracts/definition.ts';
import { MillraceError } from '../contracts/errors.ts';
import { isMap } from './entries.ts';
import type { Findings } from './findings.ts';
import { functionOf } from './functions.ts';
import { parsePart } from './issues.ts';
import { crossCheck } from './rules.ts';
import { type Config, type FunctionConfig, functionSchema, type ProviderConfig, retryPolicyOf } from './schema.ts';
import { dnsLabel, quantity } from './units.ts';

const maxText = 65_536;
const key = z.string().min(1).max(317);
// faas-cli sends null for what it was not given.
/** Labels, annotations and environment, as clients send them. */
export const textMap = z
  .record(key, z.string().max(maxText))
  .nullish()
  .transform((map) => map ?? {});
const resources = z
  .strictObject({
    memory: quantity.optional(),
    cpu: quantity.optional(),
    'nvidia.com/gpu': quantity.optional(),
    'amd.com/gpu': quantity.optional(),
    'intel.com/gpu': quantity.optional(),
  })
  .nullish()
  .transform((map) => {
    const given = Object.entries(map ?? {}).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return given.length === 0 ? undefined : Object.fromEntries(given);
  });

/** Namespace in the API: clients send an empty one when they were given none. */
export const namespaceName = z.union([z.literal(''), dnsLabel]).optional();

/** Name of a secret of functions: it becomes the name of a file. */
export const secretName = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/, 'expected lower-case letters, digits, "-" and ".", at most 253');

/** The body of `POST` and `PUT /system/functions`. */
export const deploymentSchema = z
  .strictObject({
    service: dnsLabel,
    image: z.string().min(1).max(2048),
    namespace: namespaceName,
    envProcess: z.string().max(maxText).nullish(),
    envVars: textMap,
    constraints: z.array(z.string().max(500)).max(100).nullish(),
    secrets: z.array(secretName).max(100).nullish(),
    labels: textMap,
    annotations: textMap,
    limits: resources,
    requests: resources,
    readOnlyRootFilesystem: z.boolean().nullish(),
    // Of older releases of OpenFaaS, which ignore them by now as well.
    registryAuth: z.string().nullish(),
    network: z.string().nullish(),
  })
  .meta({ id: 'FunctionDeployment' });

/** What was asked for, with the namespace that it has unless it says otherwise. */
export function deploymentOf(asked: z.output<typeof deploymentSchema>, standardNamespace: string): Deployment {
  const { registryAuth: _, network: __, namespace, envProcess, constraints, secrets, ...rest } = asked;
  return {
    ...rest,
    namespace: namespace || standardNamespace,
    envProcess: envProcess || undefined,
    constraints: constraints ?? [],
    secrets: secrets ?? [],
    readOnlyRootFilesystem: asked.readOnlyRootFilesystem ?? undefined,
  };
}

/** The provider that takes what the API deploys; the configuration has been checked to name one at most. */
export function deployTarget(config: Config): ProviderConfig | undefined {
  return [...config.providers.values()].find(({ allowDeploy }) => allowDeploy);
}

/** @throws MillraceError `deploy.disabled` when there is none. */
export function needDeployTarget(config: Config): ProviderConfig {
  const target = deployTarget(config);
  if (target) return target;
  const text = 'deploying through the API is off: set providers.NAME.allowDeploy in the configuration';
  throw new MillraceError('deploy.disabled', text);
}

/**
 * The function that a deployment is at that provider, by the same rules as one of the YAML.
 *
 * @throws MillraceError `request.invalid` with everything that is wrong with it.
 */
export function functionOfDeployment(
  { deployment, createdAt }: FoundFunction,
  provider: ProviderConfig,
  config: Config,
): FunctionConfig {
  const own = (provider.definition as ProviderDefinition).deployment?.(deployment);
  const { service, namespace, envVars, labels, annotations } = deployment;
  const entry = { ...own, provider: provider.name, env: envVars, labels, annotations };
  const findings: Findings = { source: nowhere, problems: [], secrets: [] };
  const context = {
    namespace,
    providers: config.providers,
    declaredProviders: [provider.name],
    retryOf: (retry: Parameters<typeof retryPolicyOf>[0] | string) =>
      typeof retry === 'string' ? config.standardRetry : retryPolicyOf(retry),
  };
  const common = parsePart(functionSchema, entry, [], nowhere);
  findings.problems.push(...common.problems);
  const made = functionOf(`${service}.${namespace}`, entry, common.value, [], context, findings);
  if (made) {
    const whole = { ...config, functions: new Map([[made.name, made]]), connectors: new Map(), tests: [] };
    const declared = { source: nowhere, functionPaths: new Map(), queues: [...config.queues.keys()] };
    findings.problems.push(...crossCheck(whole, declared));
  }
  if (made && findings.problems.length === 0) return { ...made, deployment: { ...deployment, createdAt } };
  const told = findings.problems.map(textOf).join('; ');
  throw new MillraceError('request.invalid', `function ${service}.${namespace}: ${told}`);
}

/** A deployment stands in no file. */
const nowhere = { place: () => undefined, outside: () => undefined };

function textOf({ path, message }: { readonly path: string; readonly message: string }): string {
  return path === '' ? message : `${path}: ${message}`;
}

/** A record of the store, as it was put there; undefined for what a later release wrote in another form. */
export function storedDeployment(text: string): FoundFunction | undefined {
  const value: unknown = JSON.parse(text);
  if (!isMap(value) || value['v'] !== 1) return undefined;
  const { deployment, createdAt } = value as unknown as FoundFunction;
  return { deployment, createdAt };
}
