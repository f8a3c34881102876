import { z } from 'zod';
import { scopes } from '../contracts/route.ts';
import type { FunctionEntry, FunctionSpec } from '../contracts/provider.ts';
import { version } from '../version.ts';
import { partsOf } from '../kit/names.ts';
import { isoTime } from '../kit/time.ts';
import { deployedFunction, deployedFunctions } from './names.ts';
import { type ApiRoute, route } from './route.ts';
import { functionName, functionStatusView, namespaceText, refusals } from './schemas.ts';
import type { ManagementServices } from './services.ts';

const tag = 'functions';
const releaseView = z.object({ release: z.string(), sha: z.string() });
const infoView = z.object({
  provider: z.object({ provider: z.string(), orchestration: z.string(), version: releaseView }),
  version: releaseView,
  arch: z.string(),
});

const loadView = z.object({
  function: z.string(),
  replicas: z.int(),
  availableReplicas: z.int(),
  inFlight: z.int().meta({ description: 'Calls that run or wait in the gateway.' }),
  queueDepth: z.int().meta({ description: 'Queued invocations that may run, or are being run.' }),
  rps: z.number().meta({ description: 'Calls a second, over the last seconds.' }),
  cpuMillicores: z.number().meta({ description: 'Of its replicas, where the provider knows.' }),
});

/** What OpenFaaS clients ask about functions. */
export const functionRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/functions',
    auth: ['deploy', 'operate'],
    tag,
    summary: 'The deployed functions.',
    query: z.strictObject({ namespace: namespaceText }),
    responses: { 200: { description: 'In the order of their names.', schema: z.array(functionStatusView) } },
    handle: ({ query }, { services }) =>
      deployedFunctions(services)
        .filter(({ name }) => !query.namespace || name.endsWith(`.${query.namespace}`))
        .map((entry) => viewOfFunction(entry, services))
        .toSorted((one, other) => one.name.localeCompare(other.name) || one.namespace.localeCompare(other.namespace)),
  }),
  route({
    method: 'GET',
    path: '/system/function/{name}',
    auth: ['deploy', 'operate'],
    tag,
    summary: 'One function.',
    params: z.strictObject({ name: functionName }),
    query: z.strictObject({ namespace: namespaceText, usage: z.string().max(5).optional() }),
    responses: { 200: { description: 'Its state.', schema: functionStatusView }, ...refusals('function.missing') },
    handle: ({ params, query }, { services }) =>
      viewOfFunction(deployedFunction(params.name, query.namespace, services), services),
  }),
  route({
    method: 'GET',
    path: '/system/scaling/{name}',
    auth: 'operate',
    tag,
    summary: 'What a function has to bear, for scalers such as the metrics-api trigger of KEDA.',
    params: z.strictObject({ name: functionName }),
    query: z.strictObject({ namespace: namespaceText }),
    responses: { 200: { description: 'Numbers of now.', schema: loadView }, ...refusals('function.missing') },
    handle: async ({ params, query }, { services }): Promise<z.input<typeof loadView>> => {
      const { name, status } = deployedFunction(params.name, query.namespace, services);
      const { inFlight, queued, perSecond, cpu } = await services.load(name);
      const { replicas, availableReplicas } = status;
      const load = { inFlight, queueDepth: queued ?? 0, rps: perSecond, cpuMillicores: cpu };
      return { function: name, replicas, availableReplicas, ...load };
    },
  }),
  route({
    method: 'GET',
    path: '/system/info',
    auth: scopes,
    tag,
    summary: 'What this gateway is.',
    responses: { 200: { description: 'Release and platform.', schema: infoView } },
    handle: (): z.input<typeof infoView> => {
      // Clients take every one of these for granted; the revision is not known to a running process.
      const release = { release: version, sha: 'unknown' };
      return {
        provider: { provider: 'millrace', orchestration: 'millrace', version: release },
        version: release,
        arch: process.arch === 'x64' ? 'x86_64' : process.arch,
      };
    },
  }),
];

function viewOfFunction(entry: FunctionEntry, services: ManagementServices): z.input<typeof functionStatusView> {
  const { name: fullName, spec, status, policy, providerName } = entry;
  const { name, namespace } = partsOf(fullName);
  return {
    name,
    image: imageOf(spec.config),
    namespace,
    labels: { ...spec.labels, faas_function: name },
    annotations: { ...spec.annotations },
    replicas: status.replicas,
    availableReplicas: status.availableReplicas,
    invocationCount: services.invocationCount?.(fullName) ?? 0,
    state: status.state,
    provider: providerName,
    queue: policy.queue,
    ...(status.message !== undefined && { message: status.message }),
    ...(spec.deployment && askedFor(spec.deployment)),
  };
}

/** What a client deployed, without what is empty: clients compare it to what they would send. */
function askedFor({
  createdAt,
  image,
  envProcess,
  envVars,
  constraints,
  secrets,
  limits,
  requests,
  readOnlyRootFilesystem,
}: NonNullable<FunctionSpec['deployment']>): Partial<z.input<typeof functionStatusView>> {
  return {
    image,
    createdAt: isoTime(createdAt),
    ...(envProcess !== undefined && { envProcess }),
    ...(Object.keys(envVars).length > 0 && { envVars }),
    ...(constraints.length > 0 && { constraints: [...constraints] }),
    ...(secrets.length > 0 && { secrets: [...secrets] }),
    ...(limits && { limits }),
    ...(requests && { requests }),
    ...(readOnlyRootFilesystem && { readOnlyRootFilesystem }),
  };
}

/** The provider's own words for what it runs, where they hold no secret: URLs and commands may. */
function imageOf(config: unknown): string {
  if (typeof config !== 'object' || config === null) return '';
  const { image, module } = config as { readonly image?: unknown; readonly module?: unknown };
  if (typeof image === 'string') return image;
  return typeof module === 'string' ? module : '';
}
