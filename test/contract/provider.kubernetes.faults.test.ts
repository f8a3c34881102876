import { afterEach, describe, expect, it } from 'vitest';
import type { Invocation, Outcome } from '../../core/contracts/invocation.ts';
import type { FunctionEntry } from '../../core/contracts/provider.ts';
import { makeCall, makeInvocation } from '../../core/testing/index.ts';
import { bytesOf } from '../../core/testing/provider-contract.ts';
import type { Handler } from '../support/http-functions.ts';
import { ApiClient } from '../support/kube/api-client.ts';
import { testGateway } from '../support/gateway.ts';
import { kubernetesBench, type KubernetesBench, startOn } from './kubernetes-bench.ts';

const stack: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of stack.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

interface World extends KubernetesBench {
  readonly api: ApiClient;
  readonly call: (entry: FunctionEntry, set?: Partial<Invocation>) => Promise<Outcome>;
  /** Of the functions `held`: lets go of those that wait. */
  readonly letGo: () => void;
  readonly waiting: () => number;
  /** Writes of the scale of Deployments so far. */
  readonly scaleWrites: () => number;
}

async function world(config: Readonly<Record<string, unknown>> = {}): Promise<World> {
  const held: (() => void)[] = [];
  const images: Record<string, Handler> = {
    quick: (_request, response) => void response.end('ok'),
    held: async (_request, response) => {
      await new Promise<void>((resolve) => held.push(resolve));
      response.end('held');
    },
  };
  const bench = await kubernetesBench(images, config);
  stack.push(bench);
  const api = new ApiClient(bench.cluster.kubeconfig);
  stack.push(api);
  return {
    ...bench,
    api,
    call: (entry, set) => bench.provider.invoke(entry, makeCall(makeInvocation(entry.name, set))),
    letGo: () => {
      for (const each of held.splice(0)) each();
    },
    waiting: () => held.length,
    scaleWrites: () => bench.cluster.requests.filter((line) => /^PATCH .*\/scale/.test(line)).length,
  };
}

/** A pod of the function that takes calls. */
function podOf({ cluster }: KubernetesBench, service: string): string {
  const pod = cluster.pods('test').find(({ metadata: { labels, deletionTimestamp } }) => {
    return labels?.['faas_function'] === service && deletionTimestamp === undefined;
  });
  return pod?.metadata.name ?? expect.fail('it has no pod');
}

const deploymentsPath = '/apis/apps/v1/namespaces/test/deployments';

describe('pods of a cluster', () => {
  it('that are killed break off what they are at, and nothing else', async () => {
    const made = await world();
    const { deploy, call, cluster, until, waiting, letGo } = made;
    const [held, quick] = [await deploy('held'), await deploy('quick')];
    const broken = call(held, { body: Buffer.from('x') });
    await expect.poll(waiting).toBe(1);
    await cluster.killPod(podOf(made, 'held'), 'test');
    expect(await broken).toMatchObject({ status: 502, failure: 'connection', error: { code: 'function.unreachable' } });
    letGo();
    expect((await call(quick)).status).toBe(200);
    await until('held', ({ state, availableReplicas }) => state === 'ready' && availableReplicas === 1);
    const next = call(held);
    await expect.poll(waiting).toBe(1);
    letGo();
    expect((await bytesOf(await next)).toString()).toBe('held');
  });
  it('that have gone without a word get no calls, and no call is lost to them', async () => {
    const made = await world();
    const { deploy, call, cluster, status } = made;
    const entry = await deploy('quick', 2);
    await cluster.vanishPod(podOf(made, 'quick'), 'test');
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => call(entry, { body: Buffer.from('x') })));
    expect(new Set(outcomes.map((outcome) => outcome.status))).toEqual(new Set([200]));
    expect(status('quick')).toMatchObject({ state: 'ready', replicas: 2, availableReplicas: 1 });
  });
  it('whose slice is deleted end what they are at, and are found again', async () => {
    const { deploy, call, api, cluster, until, statuses, waiting, letGo } = await world();
    const entry = await deploy('held');
    const running = call(entry);
    await expect.poll(waiting).toBe(1);
    const { length } = statuses;
    const [slice] = cluster.slices('test');
    await api.ask('DELETE', `/apis/discovery.k8s.io/v1/namespaces/test/endpointslices/${slice?.metadata.name}`);
    await expect.poll(() => statuses.slice(length).some(({ state }) => state === 'scaling')).toBe(true);
    await until('held', ({ state }) => state === 'ready');
    letGo();
    expect((await bytesOf(await running)).toString()).toBe('held');
  });
});

it('a gateway that starts later calls what is there', async () => {
  const { deploy, cluster } = await world();
  const entry = await deploy('quick', 2);
  const later = await startOn(cluster);
  stack.push(later);
  expect(later.status('quick')).toMatchObject({ state: 'ready', replicas: 2, availableReplicas: 2 });
  const deployment = later.provider.deployments?.functions().get(entry.name)?.deployment;
  await later.provider.deploy({ ...entry.spec, deployment: deployment && { ...deployment, createdAt: 0 } });
  const outcome = await later.provider.invoke(entry, makeCall(makeInvocation(entry.name)));
  expect((await bytesOf(outcome)).toString()).toBe('ok');
});

describe('an API server that is away', () => {
  it('keeps no call from its pod; what changed meanwhile is known once it is back', async () => {
    const { deploy, call, cluster, provider, until } = await world();
    const entry = await deploy('quick');
    await cluster.stopApi();
    for (let count = 0; count < 20; count++) expect((await call(entry)).status).toBe(200);
    await expect(provider.scale?.(entry.name, 2)).rejects.toMatchObject({ code: 'provider.unavailable' });
    await cluster.startApi();
    await provider.scale?.(entry.name, 2);
    await until('quick', ({ availableReplicas }) => availableReplicas === 2);
  });
  it('that has forgotten what was watched is listed again', async () => {
    const { deploy, cluster, api, until } = await world();
    await deploy('quick');
    cluster.watches.stall();
    await api.ask('PATCH', `${deploymentsPath}/quick/scale`, { spec: { replicas: 3 } }, merge);
    cluster.compact();
    cluster.watches.drop();
    cluster.watches.resume();
    await until('quick', ({ replicas, availableReplicas }) => replicas === 3 && availableReplicas === 3);
  });
});

const merge = { contentType: 'application/merge-patch+json' };

describe('the scale of a function', () => {
  it('goes from zero by one write for a hundred callers, who wait for the watch and not by asking', async () => {
    const { cluster } = await world();
    const yaml = `
providers:
  cluster: { kind: kubernetes, kubeconfig: '${cluster.kubeconfig}', namespaces: [test] }
functions:
  quick.test: { provider: cluster, image: quick }
`;
    const gateway = await testGateway(yaml);
    stack.push(gateway);
    const client = new GatewayClient(gateway.url);
    await client.until(({ availableReplicas }) => availableReplicas === 1);
    await client.scale(0);
    await client.until(({ state }) => state === 'cold');
    cluster.readyAfter('quick', 'never');
    const before = cluster.requests.length;
    const calls = Array.from({ length: 100 }, () => client.call());
    await expect.poll(() => cluster.requests.slice(before).some((line) => line.startsWith('PATCH'))).toBe(true);
    await client.until(({ state }) => state === 'scaling');
    const asked = cluster.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(cluster.requests.slice(asked)).toEqual([]);
    cluster.readyAfter('quick', 0);
    expect(new Set(await Promise.all(calls))).toEqual(new Set([200]));
    expect(cluster.requests.slice(before).filter((line) => /^(PATCH|PUT|POST)/.test(line))).toHaveLength(1);
  });
  it('is written again where others write or the server is too busy', async () => {
    const { deploy, cluster, provider, until, scaleWrites } = await world();
    const { name } = await deploy('quick');
    const when = ({ method }: { readonly method: string }): boolean => method === 'PATCH';
    cluster.faults.answer({ status: 409, times: 2, when });
    cluster.faults.answer({ status: 429, retryAfterSeconds: 0, times: 1, when });
    await provider.scale?.(name, 2);
    expect(scaleWrites()).toBe(4);
    await until('quick', ({ availableReplicas }) => availableReplicas === 2);
  });
  it('is not taken back by a gateway that has not seen what another has made of it', async () => {
    const { deploy, cluster, provider, api, until } = await world();
    const { name } = await deploy('quick', 0);
    cluster.watches.stall();
    await api.ask('PATCH', `${deploymentsPath}/quick/scale`, { spec: { replicas: 3 } }, merge);
    await provider.scale?.(name, 1);
    const scale = async (): Promise<unknown> => (await api.ask('GET', `${deploymentsPath}/quick/scale`)).body['spec'];
    expect(await scale()).toEqual({ replicas: 3 });
    cluster.watches.drop();
    cluster.watches.resume();
    await until('quick', ({ availableReplicas }) => availableReplicas === 3);
    await provider.scale?.(name, 1);
    expect(await scale()).toEqual({ replicas: 1 });
  });
  it('is that of before when it could not be written', async () => {
    const { deploy, cluster, provider, status } = await world();
    const { name } = await deploy('quick');
    cluster.faults.answer({ status: 403, when: ({ method }) => method === 'PATCH' });
    await expect(provider.scale?.(name, 0)).rejects.toThrow();
    expect(status('quick')).toMatchObject({ state: 'ready', replicas: 1, availableReplicas: 1 });
  });
  it('is told as cold before it is written, so that no call slips in between', async () => {
    const { deploy, cluster, provider, status } = await world();
    const { name } = await deploy('quick');
    cluster.faults.latencyMs = 50;
    const scaling = provider.scale?.(name, 0);
    expect(status('quick')).toMatchObject({ state: 'cold', replicas: 0 });
    await scaling;
    expect(status('quick')).toMatchObject({ state: 'cold', replicas: 0 });
  });
  it('names the autoscaler that owns it', async () => {
    const { deploy, api, until } = await world();
    await deploy('quick');
    const path = '/apis/autoscaling/v2/namespaces/test/horizontalpodautoscalers';
    const scaleTargetRef = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'quick' };
    const autoscaler = {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: 'resize' },
      spec: { maxReplicas: 3, scaleTargetRef },
    };
    expect((await api.ask('POST', path, autoscaler)).status).toBe(201);
    await until('quick', ({ scaledBy }) => scaledBy === 'HorizontalPodAutoscaler resize');
    await api.ask('DELETE', `${path}/resize`);
    await until('quick', ({ scaledBy }) => scaledBy === undefined);
  });
});

type Told = Readonly<Record<string, unknown>>;

/** Asks a gateway about the one function of these tests. */
class GatewayClient {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async call(): Promise<number> {
    const answer = await fetch(`${this.#url}/function/quick.test`, { method: 'POST', body: 'x' });
    await answer.arrayBuffer();
    return answer.status;
  }

  async scale(replicas: number): Promise<void> {
    await fetch(`${this.#url}/system/scale-function/quick?namespace=test`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ serviceName: 'quick', namespace: 'test', replicas }),
    });
  }

  async until(holds: (told: Told) => boolean): Promise<void> {
    await expect
      .poll(async () => {
        const answer = await fetch(`${this.#url}/system/function/quick?namespace=test`);
        return answer.ok && holds((await answer.json()) as Told);
      })
      .toBe(true);
  }
}
