import { connect } from 'node:net';
import type { V1PodList } from '@kubernetes/client-node';
import type { ProviderDefinition } from '../../core/contracts/definition.ts';
import type { FunctionEntry, FunctionSpec, FunctionStatus, Provider } from '../../core/contracts/provider.ts';
import { makeEntry, type ProviderBench } from '../../core/testing/index.ts';
import type { KubeDeployment } from '../../plugins/providers/kubernetes/kinds.ts';
import kubernetes from '../../plugins/providers/kubernetes/index.ts';
import { type Handler, httpRoles, roleHandler } from '../support/http-functions.ts';
import { ApiClient } from '../support/kube/api-client.ts';
import { FakeCluster } from '../support/kube/fake-cluster.ts';
import { RealPods } from '../support/kube/real-pods.ts';
import { recordingHost } from '../support/provider-host.ts';

const namespace = 'test';
const deploymentsPath = `/apis/apps/v1/namespaces/${namespace}/deployments`;

export interface StartedProvider extends AsyncDisposable {
  readonly provider: Provider;
  readonly statuses: readonly FunctionStatus[];
  /** What was said last of a function. */
  readonly status: (service: string) => FunctionStatus | undefined;
  /** Waits for a status. */
  readonly until: (service: string, holds: (status: FunctionStatus) => boolean) => Promise<void>;
}

export interface KubernetesBench extends StartedProvider, Omit<ProviderBench, 'deploy' | 'provider' | 'statuses'> {
  readonly cluster: FakeCluster;
  /** Has a function run whose image has its own name, and waits until nothing of an older one takes calls. */
  readonly deploy: (service: string, replicas?: number) => Promise<FunctionEntry>;
}

const definition: ProviderDefinition = kubernetes;

/** A provider on that cluster. */
export async function startOn(
  { kubeconfig }: Pick<FakeCluster, 'kubeconfig'>,
  config: Readonly<Record<string, unknown>> = {},
): Promise<StartedProvider> {
  const host = recordingHost('/');
  const provider = definition.create(definition.config.parse({ kubeconfig, namespaces: [namespace], ...config }), host);
  await provider.start();
  const status: StartedProvider['status'] = (service) =>
    host.statuses.findLast(({ name }) => name === `${service}.${namespace}`);
  return {
    provider,
    statuses: host.statuses,
    status,
    until: (service, holds) => {
      return cameTrue(() => {
        const now = status(service);
        return now !== undefined && holds(now);
      });
    },
    [Symbol.asyncDispose]: () => provider.stop(0),
  };
}

/** The provider on a fake cluster in which images do what their handlers do. */
export async function kubernetesBench(
  images: Readonly<Record<string, Handler>>,
  config: Readonly<Record<string, unknown>> = {},
): Promise<KubernetesBench> {
  const cluster = await FakeCluster.start({ images, namespaces: [namespace] });
  const api = new ApiClient(cluster.kubeconfig);
  const started = await startOn(cluster, config);
  const dispose = async (): Promise<void> => {
    await started.provider.stop(0);
    await api[Symbol.asyncDispose]();
    await cluster[Symbol.asyncDispose]();
  };
  return {
    ...started,
    cluster,
    deploy: deployerOf(started, api),
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}

/** The pods are in this process, which is busy itself: how soon one counts as gone is shown elsewhere. */
const patient = { connectTimeout: '5s' };

/** The functions of the contract on a fake cluster, each an image of its name. */
export function kubernetesRolesBench(): Promise<ProviderBench> {
  return kubernetesBench(roleImages, patient);
}

/**
 * The same on a real cluster, in a namespace that is the contract's alone; nothing is left of them. Its node runs
 * nothing, so stand-ins listen at the addresses of the pods.
 */
export async function realRolesBench(kubeconfig: string): Promise<ProviderBench> {
  const api = new ApiClient(kubeconfig);
  await api.ask('POST', '/api/v1/namespaces', { metadata: { name: namespace, labels: { openfaas: '1' } } });
  const pods = new RealPods(new ApiClient(kubeconfig), namespace, roleImages);
  const started = await startOn({ kubeconfig }, patient);
  const { provider, statuses } = started;
  const deploy = deployerOf(started, api);
  const deployed = new Set<string>();
  return {
    provider,
    statuses,
    deploy: async (role) => {
      const entry = await deploy(role);
      deployed.add(role);
      await cameTrue(async () => (await addressesOf(api, role)).length === 1);
      const [address = ''] = await addressesOf(api, role);
      await cameTrue(() => accepts(address));
      return entry;
    },
    dispose: async () => {
      await provider.stop(0);
      for (const role of deployed) {
        await api.ask('DELETE', `${deploymentsPath}/${role}`, { propagationPolicy: 'Foreground' });
        await api.ask('DELETE', `/api/v1/namespaces/${namespace}/services/${role}`);
        await cameTrue(async () => (await api.ask('GET', `${deploymentsPath}/${role}`)).status === 404);
      }
      await pods[Symbol.asyncDispose]();
      await api[Symbol.asyncDispose]();
    },
  };
}

const roleImages = Object.fromEntries(
  Object.keys(httpRoles).map((role): [string, Handler] => [
    role,
    (request, response) => {
      request.url = `/${role}${request.url}`;
      return roleHandler(request, response);
    },
  ]),
);

/** Deploys a function whose image has its own name, and waits until nothing of an older one takes calls. */
function deployerOf({ provider, until }: StartedProvider, api: ApiClient): KubernetesBench['deploy'] {
  let deployments = 0;
  return async (service, replicas = 1) => {
    const deployed = String(++deployments);
    const spec: FunctionSpec = {
      name: `${service}.${namespace}`,
      provider: 'kubernetes',
      config: definition.functionConfig.parse({ image: service }),
      env: {},
      labels: {},
      annotations: { deployed },
    };
    await provider.deploy(spec);
    await cameTrue(async () => isRolledOut((await api.ask('GET', `${deploymentsPath}/${service}`)).body, deployed));
    if (replicas !== 1) await provider.scale?.(spec.name, replicas);
    await until(service, ({ state, availableReplicas }) => state !== 'scaling' && availableReplicas === replicas);
    return makeEntry(provider, spec);
  };
}

function isRolledOut({ metadata, spec, status = {} }: Partial<KubeDeployment>, deployed: string): boolean {
  const { observedGeneration, replicas, updatedReplicas, availableReplicas } = status;
  if (metadata?.annotations?.['deployed'] !== deployed || observedGeneration !== metadata.generation) return false;
  return [replicas, updatedReplicas, availableReplicas].every((count) => count === spec?.replicas);
}

/** Of its pods that are not being ended. */
async function addressesOf(api: ApiClient, service: string): Promise<string[]> {
  const path = `/api/v1/namespaces/${namespace}/pods?labelSelector=faas_function%3D${service}`;
  const { items } = (await api.ask('GET', path)).body as unknown as V1PodList;
  return items.flatMap(({ metadata, status }) =>
    metadata?.deletionTimestamp === undefined && status?.podIP !== undefined ? [status.podIP] : [],
  );
}

/** Rejects when it does not within 20 s. */
async function cameTrue(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const endsAt = performance.now() + 20_000; !(await holds());) {
    if (performance.now() > endsAt) throw new Error('it did not come true within 20 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function accepts(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(8080, address);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
