import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ApiClient } from '../support/kube/api-client.ts';
import { FakeCluster } from '../support/kube/fake-cluster.ts';
import { startOn, type StartedProvider } from './kubernetes-bench.ts';

const stack: AsyncDisposable[] = [];
afterEach(async () => {
  for (const each of stack.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

const definition = parse(
  readFileSync(join(import.meta.dirname, '../../deploy/crds/functions.openfaas.com.yaml'), 'utf8'),
) as object;
const resources = '/apis/openfaas.com/v1/namespaces/test/functions';
const merge = { contentType: 'application/merge-patch+json' };

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}
interface Resource {
  readonly metadata: { readonly generation: number; readonly resourceVersion: string };
  readonly status?: {
    readonly observedGeneration: number;
    readonly replicas: number;
    readonly availableReplicas: number;
    readonly conditions: readonly Condition[];
  };
}

interface World {
  readonly cluster: FakeCluster;
  readonly api: ApiClient;
  readonly gateways: readonly StartedProvider[];
  readonly create: (spec?: Readonly<Record<string, unknown>>) => Promise<void>;
  readonly read: () => Promise<Resource>;
  /** Waits until it is told so. */
  readonly told: (expected: object) => Promise<void>;
  readonly condition: (type: string) => Promise<Condition | undefined>;
  readonly writes: () => readonly string[];
}

/** A cluster that knows the kind `Function`, and as many gateways as are asked for. */
async function world(count = 1): Promise<World> {
  const cluster = await FakeCluster.start({
    images: { quick: (_request, response) => void response.end('ok') },
    namespaces: ['test'],
  });
  stack.push(cluster);
  const api = new ApiClient(cluster.kubeconfig);
  stack.push(api);
  const made = await api.ask('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', definition);
  expect(made.status, made.text).toBe(201);
  const gateways: StartedProvider[] = [];
  for (let index = 0; index < count; index++) gateways.push(await startOn(cluster, { functionResources: true }));
  stack.push(...gateways);
  const read = async (): Promise<Resource> => (await api.ask('GET', `${resources}/a`)).body as unknown as Resource;
  return {
    cluster,
    api,
    gateways,
    read,
    create: async (spec = {}) => {
      const metadata = { name: 'a', namespace: 'test' };
      const object = { apiVersion: 'openfaas.com/v1', kind: 'Function', metadata };
      const answer = await api.ask('POST', resources, { ...object, spec: { name: 'a', image: 'quick', ...spec } });
      expect(answer.status, answer.text).toBe(201);
    },
    told: async (expected) => {
      await expect.poll(async () => (await read()).status, { timeout: 10_000 }).toMatchObject(expected);
    },
    condition: async (type) => (await read()).status?.conditions.find((each) => each.type === type),
    writes: () => cluster.requests.filter((line) => /^(POST|PUT|PATCH) .*(deployments|services|status)/.test(line)),
  };
}

const ready = [
  { type: 'Healthy', status: 'True', reason: 'Deployed' },
  { type: 'Ready', status: 'True', reason: 'Available' },
];

describe('a resource Function', () => {
  it('is a function that runs, and is told how it is', async () => {
    const { create, told, read, cluster, gateways } = await world();
    await create({
      handler: 'node run.js',
      environment: { a: '1' },
      labels: { team: 'x' },
      annotations: { topic: 't' },
    });
    await told({ observedGeneration: 1, replicas: 1, availableReplicas: 1, conditions: ready });
    const [gateway] = gateways;
    await gateway?.until('a', ({ state }) => state === 'ready');
    expect(gateway?.provider.deployments?.functions().get('a.test')?.deployment).toMatchObject({
      image: 'quick',
      envProcess: 'node run.js',
      envVars: { a: '1' },
      annotations: { topic: 't' },
    });
    const [deployment] = cluster.deployments('test');
    const { uid } = (await read()).metadata as unknown as { uid: string };
    const owner = { apiVersion: 'openfaas.com/v1', kind: 'Function', name: 'a', uid, controller: true };
    expect(deployment?.metadata.ownerReferences).toEqual([owner]);
    expect(cluster.services('test')[0]?.metadata.ownerReferences).toEqual([owner]);
  });
  it('that is changed changes it, keeps its replicas, and what others do to it is undone', async () => {
    const { create, told, api, cluster } = await world();
    await create();
    await told({ conditions: ready });
    const deployment = '/apis/apps/v1/namespaces/test/deployments/a';
    await api.ask('PATCH', `${deployment}/scale`, { spec: { replicas: 2 } }, merge);
    await told({ replicas: 2, availableReplicas: 2 });
    await api.ask('PATCH', `${resources}/a`, { spec: { environment: { b: '2' } } }, merge);
    await told({ observedGeneration: 2, replicas: 2, availableReplicas: 2 });
    const env = (): unknown => {
      const spec = cluster.deployments('test')[0]?.spec as { template: { spec: { containers: { env: unknown }[] } } };
      return spec.template.spec.containers[0]?.env;
    };
    expect(env()).toEqual([{ name: 'b', value: '2' }]);
    const template = { spec: { containers: [{ name: 'a', image: 'quick', env: [{ name: 'c', value: '3' }] }] } };
    await api.ask('PATCH', deployment, { spec: { template } }, merge);
    await expect.poll(env).toEqual([{ name: 'b', value: '2' }]);
    await api.ask('DELETE', deployment);
    await told({ replicas: 1, availableReplicas: 1, conditions: ready });
  });
  it('that is deleted takes its function along', async () => {
    const { create, told, api, cluster, gateways } = await world();
    await create();
    await told({ conditions: ready });
    await api.ask('DELETE', `${resources}/a`);
    await expect.poll(() => [...cluster.deployments('test'), ...cluster.services('test')].length).toBe(0);
    await expect.poll(() => gateways[0]?.provider.deployments?.functions().size).toBe(0);
  });
  it('is told once what is so, however many gateways there are', async () => {
    const { create, told, read, writes, api } = await world(3);
    await create();
    await told({ conditions: ready });
    const { resourceVersion } = (await read()).metadata;
    const { length } = writes();
    const note = { metadata: { annotations: { note: 'of no concern' } } };
    await api.ask('PATCH', '/apis/apps/v1/namespaces/test/deployments/a', note, merge);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(writes().slice(length)).toHaveLength(1);
    expect((await read()).metadata.resourceVersion).toBe(resourceVersion);
  });
  it('that names a secret which is not there says so, and runs once it is', async () => {
    const { create, told, api, condition } = await world();
    await create({ secrets: ['key'] });
    await told({
      conditions: [
        { type: 'Healthy', status: 'False', reason: 'Rejected' },
        { type: 'Ready', status: 'False', reason: 'NotDeployed' },
      ],
    });
    expect((await condition('Healthy'))?.message).toContain('no secret key');
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'key' }, data: {} };
    expect((await api.ask('POST', '/api/v1/namespaces/test/secrets', secret)).status).toBe(201);
    await told({ conditions: ready });
  });
  it('leaves a Deployment alone that is not its own, and says so', async () => {
    const { create, told, api, condition, cluster, gateways } = await world();
    await gateways[0]?.provider.deployments?.deploy(
      {
        service: 'a',
        namespace: 'test',
        image: 'other',
        envVars: {},
        constraints: [],
        secrets: [],
        labels: {},
        annotations: {},
      },
      'create',
    );
    const [before] = cluster.deployments('test');
    await create();
    await told({ conditions: [{ type: 'Healthy', status: 'False', reason: 'Rejected' }, { type: 'Ready' }] });
    expect((await condition('Healthy'))?.message).toContain('is not of this resource');
    expect(cluster.deployments('test')[0]?.metadata.generation).toBe(before?.metadata.generation);
    await api.ask('DELETE', '/apis/apps/v1/namespaces/test/deployments/a');
    await told({ conditions: ready });
  });
  it('at zero replicas is ready, since a call wakes it', async () => {
    const { create, told, api } = await world();
    await create();
    await told({ conditions: ready });
    await api.ask('PATCH', '/apis/apps/v1/namespaces/test/deployments/a/scale', { spec: { replicas: 0 } }, merge);
    const zero = { type: 'Ready', status: 'True', reason: 'ScaledToZero' };
    await told({ replicas: 0, availableReplicas: 0, conditions: [{ type: 'Healthy', status: 'True' }, zero] });
  });
});
