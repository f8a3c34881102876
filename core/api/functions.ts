import { z } from 'zod';
import { scopes } from '../auth/principal.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { FunctionEntry } from '../contracts/provider.ts';
import { version } from '../version.ts';
import { deployedFunctions, qualified, shown } from './names.ts';
import { type ApiRoute, route } from './route.ts';
import { functionName, functionStatusView, refusals } from './schemas.ts';
import type { ManagementServices } from './services.ts';
import { didYouMean } from '../config/suggest.ts';

const tag = 'functions';
// faas-cli sends an empty namespace when it was given none.
const namespaceText = z.string().max(63).optional();
const releaseView = z.object({ release: z.string(), sha: z.string() });
const infoView = z.object({
  provider: z.object({ provider: z.string(), orchestration: z.string(), version: releaseView }),
  version: releaseView,
  arch: z.string(),
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
    handle: ({ params, query }, { services }) => {
      const name = query.namespace ? `${params.name}.${query.namespace}` : qualified(params.name, services);
      const functions = deployedFunctions(services);
      const entry = functions.find((candidate) => candidate.name === name);
      if (entry) return viewOfFunction(entry, services);
      const known = functions.map((candidate) => candidate.name);
      throw new MillraceError('function.missing', `no function ${shown(name)} is deployed${didYouMean(name, known)}`);
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
  const { name, spec, status, policy, providerName } = entry;
  const dot = name.lastIndexOf('.');
  return {
    name: name.slice(0, dot),
    image: imageOf(spec.config),
    namespace: name.slice(dot + 1),
    labels: { ...spec.labels, faas_function: name.slice(0, dot) },
    annotations: { ...spec.annotations },
    replicas: status.replicas,
    availableReplicas: status.availableReplicas,
    invocationCount: services.invocationCount?.(name) ?? 0,
    state: status.state,
    provider: providerName,
    queue: policy.queue,
    ...(status.message !== undefined && { message: status.message }),
  };
}

/** The provider's own words for what it runs, where they hold no secret: URLs and commands may. */
function imageOf(config: unknown): string {
  if (typeof config !== 'object' || config === null) return '';
  const { image, module } = config as { readonly image?: unknown; readonly module?: unknown };
  if (typeof image === 'string') return image;
  return typeof module === 'string' ? module : '';
}
