import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Deployment } from '../../core/contracts/deployment.ts';
import { kubernetesConfig, kubernetesFunction } from '../../plugins/providers/kubernetes/config.ts';
import { KubernetesProvider } from '../../plugins/providers/kubernetes/provider.ts';
import { eventually } from '../support/gateway.ts';
import { ApiClient } from '../support/kube/api-client.ts';
import { FakeCluster } from '../support/kube/fake-cluster.ts';
import type { KubeObject } from '../support/kube/fake-objects.ts';
import { describeWithKube } from '../support/kube/with-kube.ts';
import { recordingHost, type RecordingHost } from '../support/provider-host.ts';

interface World {
  readonly api: ApiClient;
  readonly namespace: string;
  readonly kubeconfig: string;
  readonly provider: KubernetesProvider;
  readonly host: RecordingHost;
  readonly deployments: string;
  readonly services: string;
  readonly secrets: string;
}

async function started(kubeconfig: string, namespace: string, more: object = {}) {
  const host = recordingHost('/');
  const places = 'namespaceSelector' in more ? {} : { namespaces: [namespace] };
  const provider = new KubernetesProvider(kubernetesConfig.parse({ kubeconfig, ...places, ...more }), host);
  await provider.start();
  return { host, provider };
}

function asked(world: World, service: string, more: Partial<Deployment> = {}): Deployment {
  const { namespace } = world;
  const none = { envVars: {}, constraints: [], secrets: [], labels: {}, annotations: {} };
  return { service, namespace, image: 'registry.example/one', ...none, ...more };
}

/** What the keeper promises, on whatever API server. */
function keeperSuite(open: () => Promise<string>): void {
  let made: World | undefined;
  const the = (): World => {
    if (!made) throw new Error('the world is made before the tests');
    return made;
  };
  beforeAll(async () => {
    const kubeconfig = await open();
    const api = new ApiClient(kubeconfig);
    const namespace = `keeper-${randomBytes(4).toString('hex')}`;
    await api.ask('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
    made = {
      api,
      namespace,
      kubeconfig,
      ...(await started(kubeconfig, namespace)),
      deployments: `/apis/apps/v1/namespaces/${namespace}/deployments`,
      services: `/api/v1/namespaces/${namespace}/services`,
      secrets: `/api/v1/namespaces/${namespace}/secrets`,
    };
  });
  afterAll(async () => {
    await made?.provider.stop(1000);
    expect(made?.host.failures).toEqual([]);
    await made?.api.ask('DELETE', `/api/v1/namespaces/${made.namespace}`);
    await made?.api[Symbol.asyncDispose]();
  });

  const deploy = (deployment: Deployment, how: 'create' | 'update' = 'create') =>
    the().provider.deployments.deploy(deployment, how);
  const found = (service: string) => the().provider.deployments.functions().get(`${service}.${the().namespace}`);
  const kept = async (path: string): Promise<KubeObject & { readonly spec: Record<string, never> }> => {
    const { status, body } = await the().api.get(path);
    expect(status, path).toBe(200);
    return body as unknown as KubeObject & { readonly spec: Record<string, never> };
  };

  it('makes a function that the server takes whole, and finds it at once', async () => {
    const { api, deployments, services, secrets } = the();
    await api.ask('POST', secrets, { metadata: { name: 'api-key' }, data: { 'api-key': 'eA==' } });
    const login = { '.dockerconfigjson': Buffer.from('{"auths":{}}').toString('base64') };
    const type = 'kubernetes.io/dockerconfigjson';
    await api.ask('POST', secrets, { metadata: { name: 'registry' }, type, data: login });
    const whole = asked(the(), 'whole', {
      envProcess: 'cat',
      envVars: { ZONE: 'west', EMPTY: '' },
      constraints: ['zone=west'],
      secrets: ['api-key', 'registry'],
      labels: { 'com.openfaas.scale.min': '2', team: 'a' },
      annotations: { topic: 'payments', 'com.openfaas.ready.http.path': '/_/ready' },
      limits: { memory: '128Mi', cpu: '500m' },
      requests: { memory: '64Mi' },
      readOnlyRootFilesystem: true,
    });
    await eventually(() =>
      deploy(whole).then(
        () => true,
        (error: Error) => (/secret/.test(error.message) ? undefined : Promise.reject(error)),
      ),
    );
    expect(found('whole')?.deployment).toEqual(whole);
    expect(Math.abs((found('whole')?.createdAt ?? 0) - Date.now())).toBeLessThan(60_000);
    const deployment = await kept(`${deployments}/whole`);
    expect(deployment.spec).toMatchObject({ replicas: 2 });
    expect(await kept(`${services}/whole`)).toMatchObject({ spec: { selector: { faas_function: 'whole' } } });
    // What is there is as wanted, with all that the server has added: nothing is to be written.
    const version = deployment.metadata.generation;
    await deploy(whole, 'update');
    expect((await kept(`${deployments}/whole`)).metadata.generation).toBe(version);
  });

  it('replaces one, and leaves its replicas to their scaler', async () => {
    const { api, deployments } = the();
    await deploy(asked(the(), 'changing', { envVars: { A: '1' }, labels: { old: 'x' } }));
    await api.merge(`${deployments}/changing/scale`, { spec: { replicas: 3 } });
    await deploy(asked(the(), 'changing', { image: 'registry.example/two', labels: { fresh: 'y' } }), 'update');
    expect(found('changing')?.deployment).toMatchObject({
      image: 'registry.example/two',
      envVars: {},
      labels: { fresh: 'y' },
    });
    expect((await kept(`${deployments}/changing`)).spec).toMatchObject({ replicas: 3 });
  });

  it('tells what is there from what is not', async () => {
    await deploy(asked(the(), 'once'));
    await expect(deploy(asked(the(), 'once'))).rejects.toMatchObject({ code: 'request.conflict' });
    await expect(deploy(asked(the(), 'never'), 'update')).rejects.toMatchObject({ code: 'function.missing' });
    const { deployments } = the().provider;
    await expect(deployments.remove(`never.${the().namespace}`)).rejects.toMatchObject({ code: 'function.missing' });
  });

  it('refuses what cannot be, by name, and leaves nothing of it', async () => {
    const refused = async (more: Partial<Deployment>, text: string): Promise<void> => {
      await expect(deploy(asked(the(), 'refused', more))).rejects.toMatchObject({
        code: 'request.invalid',
        message: expect.stringContaining(text),
      });
    };
    await refused({ secrets: ['api-key', 'nowhere'] }, 'no secret nowhere');
    await refused({ annotations: { 'com.openfaas.profile': 'gpu' } }, 'no profile gpu');
    await refused({ labels: { team: 'not a label' } }, 'not a label');
    await refused({ limits: { memory: '1Mi' }, requests: { memory: '2Mi' } }, 'memory');
    await refused({ namespace: 'kube-system' }, 'kube-system is no namespace of functions');
    expect((await the().api.get(`${the().deployments}/refused`)).status).toBe(404);
    expect((await the().api.get(`${the().services}/refused`)).status).toBe(404);
  });

  it('takes nothing over that is of no function', async () => {
    const { api, services, deployments } = the();
    await api.ask('POST', services, {
      metadata: { name: 'taken' },
      spec: { selector: { app: 'x' }, ports: [{ port: 80 }] },
    });
    await eventually(() =>
      deploy(asked(the(), 'taken')).then(
        () => Promise.reject(new Error('it was made')),
        (error: { code: string }) => (error.code === 'request.conflict' ? true : Promise.reject(error)),
      ),
    );
    expect((await kept(`${services}/taken`)).spec).toMatchObject({ selector: { app: 'x' } });
    expect((await api.get(`${deployments}/taken`)).status).toBe(404);
  });

  it('makes a function once, whoever else makes it at the same time', async () => {
    const { kubeconfig, namespace, provider, deployments } = the();
    const other = await started(kubeconfig, namespace);
    const results = await Promise.allSettled(
      [provider, other.provider, provider, other.provider].map((each) =>
        each.deployments.deploy(asked(the(), 'raced'), 'create'),
      ),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'request.conflict' });
    }
    // Each reads again what the other has written meanwhile.
    const images = ['a', 'b', 'c', 'd', 'e', 'f'];
    await eventually(() => other.provider.deployments.functions().get(`raced.${namespace}`));
    const updates = images.map((image, index) => {
      const keeper = index % 2 === 0 ? provider.deployments : other.provider.deployments;
      return keeper.deploy(asked(the(), 'raced', { image }), 'update');
    });
    await Promise.all(updates);
    const { template } = (await kept(`${deployments}/raced`)).spec as unknown as {
      readonly template: { readonly spec: { readonly containers: readonly [{ readonly image: string }] } };
    };
    expect(images).toContain(template.spec.containers[0].image);
    await other.provider.stop(1000);
  });

  it('removes a function, and can make it again at once', async () => {
    const { provider, namespace, deployments, services, api } = the();
    await deploy(asked(the(), 'again'));
    for (let round = 0; round < 3; round++) {
      await provider.deployments.remove(`again.${namespace}`);
      expect(found('again')).toBeUndefined();
      expect((await api.get(`${deployments}/again`)).status).toBe(404);
      expect((await api.get(`${services}/again`)).status).toBe(404);
      await deploy(asked(the(), 'again', { image: `round-${round}` }));
      expect(found('again')?.deployment.image).toBe(`round-${round}`);
    }
  });

  it('finds what others deploy, and tells of each change', async () => {
    const { api, provider, deployments } = the();
    let changes = 0;
    const end = provider.deployments.onChange(() => changes++);
    const container = { name: 'theirs', image: 'theirs:1', env: [{ name: 'fprocess', value: 'env' }] };
    await api.ask('POST', deployments, {
      metadata: { name: 'theirs', labels: { faas_function: 'theirs' } },
      spec: {
        selector: { matchLabels: { faas_function: 'theirs' } },
        template: {
          metadata: { labels: { faas_function: 'theirs', uid: '12345' } },
          spec: { containers: [container] },
        },
      },
    });
    const first = await eventually(() => found('theirs'));
    expect(first.deployment).toMatchObject({ image: 'theirs:1', envProcess: 'env', labels: {} });
    await eventually(() => changes > 0 || undefined);
    // Pods that come and go are no change of it.
    await api.merge(`${deployments}/theirs/scale`, { spec: { replicas: 2 } });
    await eventually(async () => ((await kept(`${deployments}/theirs`)).metadata.generation ?? 0) >= 2 || undefined);
    const seen = await eventually(() => found('theirs'));
    expect(seen).toBe(first);
    await api.merge(`${deployments}/theirs`, {
      spec: { template: { spec: { containers: [{ ...container, image: '2' }] } } },
    });
    await eventually(() => (found('theirs')?.deployment.image === '2' ? true : undefined));
    await api.ask('DELETE', `${deployments}/theirs`);
    await eventually(() => found('theirs') === undefined || undefined);
    end();
  });

  it('keeps secrets as faas-netes does, and never tells a value', async () => {
    const { provider, namespace, secrets: path } = the();
    const { secrets } = provider;
    const secret = { name: 'db-password', namespace };
    expect(await secrets.create(secret, Buffer.from('one'))).toBe(true);
    expect(await secrets.create(secret, Buffer.from('one'))).toBe(false);
    expect(await secrets.list(namespace)).toContainEqual(secret);
    expect(await kept(`${path}/db-password`)).toMatchObject({
      type: 'Opaque',
      metadata: { labels: { 'app.kubernetes.io/managed-by': 'openfaas' } },
      data: { 'db-password': Buffer.from('one').toString('base64') },
    });
    expect(await secrets.update(secret, Uint8Array.of(0, 255))).toBe(true);
    expect((await kept(`${path}/db-password`)) as unknown).toMatchObject({ data: { 'db-password': 'AP8=' } });
    await deploy(asked(the(), 'reads', { secrets: ['db-password'] }));
    expect(await secrets.remove(secret)).toBe(true);
    expect(await secrets.remove(secret)).toBe(false);
    expect(await secrets.update(secret, Buffer.from('one'))).toBe(false);
    // Those of others are none of its own: they are neither told, changed nor removed.
    await the().api.ask('POST', path, { metadata: { name: 'foreign' }, data: { a: 'eA==' } });
    await eventually(() =>
      deploy(asked(the(), 'foreigner', { secrets: ['foreign'] })).then(
        () => true,
        () => undefined,
      ),
    );
    const foreign = { name: 'foreign', namespace };
    expect(await secrets.list(namespace)).not.toContainEqual(foreign);
    expect(await secrets.update(foreign, Buffer.from('x'))).toBe(false);
    expect(await secrets.remove(foreign)).toBe(false);
    await expect(secrets.create({ name: 'x', namespace: 'kube-system' }, Buffer.from('x'))).rejects.toMatchObject({
      code: 'request.invalid',
    });
  });

  it('makes and removes namespaces where a selector finds them', async () => {
    const { kubeconfig, namespace } = the();
    const mark = randomBytes(4).toString('hex');
    const { provider } = await started(kubeconfig, namespace, { namespaceSelector: `keeper=${mark}` });
    const { deployments } = provider;
    const name = `made-${mark}`;
    const one = { name, labels: { openfaas: '1' }, annotations: { openfaas: '1' } };
    expect(deployments.namespaces()).toEqual([]);
    await deployments.putNamespace(one, 'create');
    expect(deployments.namespaces()).toMatchObject([{ name, labels: { openfaas: '1', keeper: mark } }]);
    await expect(deployments.putNamespace(one, 'create')).rejects.toMatchObject({ code: 'request.conflict' });
    await deployments.putNamespace({ ...one, annotations: { owner: 'a' } }, 'update');
    expect(deployments.namespaces()[0]?.annotations).toEqual({ owner: 'a' });
    await deployments.deploy(asked({ ...the(), namespace: name }, 'inside'), 'create');
    await expect(deployments.removeNamespace(name)).rejects.toMatchObject({ code: 'request.conflict' });
    await deployments.remove(`inside.${name}`);
    await deployments.removeNamespace(name);
    expect(deployments.namespaces()).toEqual([]);
    await expect(deployments.removeNamespace(name)).rejects.toMatchObject({ code: 'namespace.missing' });
    await provider.stop(1000);
    await expect(the().provider.deployments.putNamespace(one, 'create')).rejects.toMatchObject({
      code: 'request.conflict',
    });
  });

  describe('a function of the configuration', () => {
    const spec = (service: string, more: object = {}, labels: Record<string, string> = {}) => ({
      name: `${service}.${the().namespace}`,
      provider: 'cluster',
      config: kubernetesFunction.parse({ image: 'registry.example/declared', ...more }),
      env: { A: 'b' },
      labels,
      annotations: {},
    });
    const state = (service: string) => the().host.statuses.findLast(({ name }) => name === spec(service).name);

    it('is made, kept as it stands there, and removed with it', async () => {
      const { api, provider, deployments, services } = the();
      await provider.deploy(spec('declared', {}, { team: 'a' }));
      const first = await eventually(() => found('declared'));
      expect(first.deployment).toMatchObject({ image: 'registry.example/declared', envVars: { A: 'b' } });
      expect((await kept(`${deployments}/declared`)).metadata.labels).toMatchObject({
        'app.kubernetes.io/managed-by': 'millrace',
      });
      // Somebody changes it by hand, and then removes its Service and the whole of it.
      const container = { name: 'declared', image: 'by-hand' };
      await api.merge(`${deployments}/declared`, { spec: { template: { spec: { containers: [container] } } } });
      const isMended = async (): Promise<true | undefined> => {
        const { body, status } = await api.get(`${deployments}/declared`);
        return status === 200 && JSON.stringify(body['spec']).includes('registry.example/declared') ? true : undefined;
      };
      await eventually(isMended);
      await api.ask('DELETE', `${services}/declared`);
      await eventually(async () => ((await api.get(`${services}/declared`)).status === 200 ? true : undefined));
      await api.ask('DELETE', `${deployments}/declared`);
      await eventually(isMended);
      await provider.remove(spec('declared').name);
      await eventually(() => found('declared') === undefined || undefined);
      expect((await api.get(`${services}/declared`)).status).toBe(404);
    });

    it('is not kept in place of one that others have made', async () => {
      const { provider, deployments } = the();
      await deploy(asked(the(), 'theirs-too'));
      await provider.deploy(spec('theirs-too'));
      await eventually(() => provider.workQueues().some(({ waiting }) => waiting > 0) || undefined);
      expect(found('theirs-too')?.deployment.image).toBe('registry.example/one');
      await provider.remove(spec('theirs-too').name);
      expect((await kept(`${deployments}/theirs-too`)).metadata.name).toBe('theirs-too');
    });

    it('is told as failed while it cannot be made, and made once it can', async () => {
      const { api, provider, secrets } = the();
      await provider.deploy(spec('waits', { secrets: ['late'] }));
      await eventually(() => (state('waits')?.state === 'failed' ? true : undefined));
      expect(state('waits')?.message).toContain('no secret late');
      await api.ask('POST', secrets, { metadata: { name: 'late' }, data: { late: 'eA==' } });
      await eventually(() => found('waits'));
      await provider.remove(spec('waits').name);
    });
  });
}

describe('functions kept in a fake cluster', () => {
  let fake: FakeCluster | undefined;
  afterAll(() => fake?.[Symbol.asyncDispose]());
  const opened = async (): Promise<string> => {
    fake = await FakeCluster.start();
    return fake.kubeconfig;
  };
  keeperSuite(opened);

  it('are tried again when the server is busy, and refused when it is away', async () => {
    const own = await FakeCluster.start({ namespaces: ['openfaas-fn'] });
    const { provider } = await started(own.kubeconfig, 'openfaas-fn', { requestTimeout: '1s' });
    const world = { namespace: 'openfaas-fn' } as World;
    const isWrite = ({ method }: { method: string }): boolean => method !== 'GET';
    own.faults.answer({ status: 429, retryAfterSeconds: 0, times: 2, when: isWrite });
    await provider.deployments.deploy(asked(world, 'busy'), 'create');
    expect(own.deployments('openfaas-fn')).toHaveLength(1);
    own.faults.answer({ status: 429, retryAfterSeconds: 3600, times: 1, when: isWrite });
    await expect(provider.deployments.deploy(asked(world, 'later'), 'create')).rejects.toMatchObject({
      code: 'provider.unavailable',
      retryAfterSeconds: 3600,
    });
    own.faults.answer({
      status: 500,
      times: 1,
      when: ({ method, url }) => method === 'POST' && url.includes('/services'),
    });
    await expect(provider.deployments.deploy(asked(world, 'half'), 'create')).rejects.toMatchObject({
      code: 'provider.unavailable',
    });
    expect(own.deployments('openfaas-fn')).toHaveLength(1);
    await own.stopApi();
    await expect(provider.deployments.deploy(asked(world, 'away'), 'create')).rejects.toMatchObject({
      code: 'provider.unavailable',
    });
    // What stands in the configuration is made as soon as that can be.
    await provider.deploy({
      name: 'kept.openfaas-fn',
      provider: 'cluster',
      config: kubernetesFunction.parse({ image: 'x' }),
      env: {},
      labels: {},
      annotations: {},
    });
    await own.startApi();
    await eventually(() => provider.deployments.functions().get('kept.openfaas-fn'));
    expect(provider.deployments.functions().has('away.openfaas-fn')).toBe(false);
    await provider.stop(1000);
    await own[Symbol.asyncDispose]();
  });
});

await describeWithKube('functions kept in a real cluster', (kubeconfig) => keeperSuite(async () => kubeconfig));
