import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { grantsOf, type Manifest, type Rule, shippedManifests, the } from '../support/chart.ts';
import { eventually, testGateway } from '../support/gateway.ts';
import { type Answer, ApiClient } from '../support/kube/api-client.ts';
import { FakeCluster } from '../support/kube/fake-cluster.ts';
import { describeWithKube } from '../support/kube/with-kube.ts';
import { faasCli } from '../support/openfaas.ts';

const definitionFile = join(import.meta.dirname, '../../deploy/crds/functions.openfaas.com.yaml');
const strictDryRun = 'dryRun=All&fieldValidation=Strict';

/** Where objects of that kind are, in a namespace or in none. */
function pathOf({ apiVersion, kind, metadata: { namespace } }: Manifest): string {
  const group = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const plural = `${kind.toLowerCase().replace(/y$/, 'ie')}s`;
  return `${group}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}`;
}

/** The shipped manifests in namespaces of this test's own, which are made and removed. */
function installed(kubeconfig: () => Promise<string>) {
  const suffix = randomBytes(4).toString('hex');
  const names = { openfaas: `chart-${suffix}`, 'openfaas-fn': `chart-fn-${suffix}`, other: `chart-other-${suffix}` };
  const moved = (namespace: string): string => names[namespace as keyof typeof names] ?? namespace;
  const manifests = structuredClone(shippedManifests());
  for (const { metadata, subjects = [] } of manifests)
    for (const one of [metadata, ...subjects]) one.namespace = moved(one.namespace);
  let api: ApiClient | undefined;

  beforeAll(async () => {
    api = new ApiClient(await kubeconfig());
    for (const name of Object.values(names)) {
      // A gateway is to run where nothing else than what is restricted may.
      const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
      const made = await api.ask('POST', '/api/v1/namespaces', { metadata: { name, labels } });
      expect(made.status).toBe(201);
    }
  });
  afterAll(async () => {
    for (const name of Object.values(names)) await api?.ask('DELETE', `/api/v1/namespaces/${name}`);
    await api?.[Symbol.asyncDispose]();
  });
  return { names, manifests, api: (): ApiClient => api! };
}

/** What the gateway's service account may do there, by asking for it with the account's token. */
function access(name: string, kubeconfig: () => Promise<string>): void {
  describe(name, () => {
    const { names, manifests, api } = installed(kubeconfig);
    const own = names['openfaas-fn'];
    const apps = `/apis/apps/v1/namespaces/${own}/deployments`;
    const core = `/api/v1/namespaces/${own}`;
    let token = '';

    beforeAll(async () => {
      for (const manifest of manifests.filter(({ kind }) => /^(ServiceAccount|Role|RoleBinding)$/.test(kind)))
        expect((await api().ask('POST', pathOf(manifest), manifest)).status).toBe(201);
      const account = `/api/v1/namespaces/${names.openfaas}/serviceaccounts/millrace`;
      const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
      const { body } = await api().ask('POST', `${account}/token`, request);
      token = (body as Manifest).status.token;
    });
    const as = (method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<Answer> =>
      api().ask(method, path, body, {
        token,
        ...(method === 'PATCH' && { contentType: 'application/merge-patch+json' }),
      });
    const deployment = {
      metadata: { name: 'up', labels: { faas_function: 'up' } },
      spec: {
        replicas: 0,
        selector: { matchLabels: { faas_function: 'up' } },
        template: {
          metadata: { labels: { faas_function: 'up' } },
          spec: { containers: [{ name: 'up', image: 'example.org/up:1' }] },
        },
      },
    };

    it('is enough to deploy, change, scale and remove a function, and to keep its secrets', async () => {
      const made = await as('POST', apps, deployment);
      expect(made.status).toBe(201);
      const changed = { ...deployment, spec: { ...deployment.spec, minReadySeconds: 1 } };
      const answers = [
        await as('GET', `${apps}/up`),
        await as('PUT', `${apps}/up`, changed),
        await as('GET', `${apps}/up/scale`),
        await as('PATCH', `${apps}/up/scale`, { spec: { replicas: 1 } }),
        await as('DELETE', `${apps}/up`),
        await as('POST', `${core}/services`, { metadata: { name: 'up' }, spec: { ports: [{ port: 8080 }] } }),
        await as('DELETE', `${core}/services/up`),
        await as('POST', `${core}/secrets`, { metadata: { name: 'key' }, data: { key: 'eA==' } }),
        await as('PATCH', `${core}/secrets/key`, { data: { key: 'eQ==' } }),
        await as('DELETE', `${core}/secrets/key`),
      ];
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 201, 200, 201, 200, 200]);
      for (const path of [
        apps,
        `${core}/services`,
        `${core}/secrets`,
        `/apis/discovery.k8s.io/v1/namespaces/${own}/endpointslices`,
        `/apis/autoscaling/v2/namespaces/${own}/horizontalpodautoscalers`,
      ])
        expect([path, (await as('GET', path)).status]).toEqual([path, 200]);
    });

    it('is answered 404 and not 403 where a custom resource is not there', async () => {
      for (const path of [
        `/apis/keda.sh/v1alpha1/namespaces/${own}/scaledobjects`,
        `/apis/openfaas.com/v1/namespaces/${names.openfaas}/profiles`,
      ])
        expect([path, (await as('GET', path)).status]).toEqual([path, 404]);
    });

    it.each<[string, Parameters<typeof as>]>([
      ['read a secret', ['GET', `${core}/secrets/key`]],
      ['see pods', ['GET', `${core}/pods`]],
      ['make a pod', ['POST', `${core}/pods`, { metadata: { name: 'x' }, spec: deployment.spec.template.spec }]],
      ['make a service account', ['POST', `${core}/serviceaccounts`, { metadata: { name: 'x' } }]],
      [
        'give itself a role',
        [
          'POST',
          `/apis/rbac.authorization.k8s.io/v1/namespaces/${own}/roles`,
          { metadata: { name: 'x' }, rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['create'] }] },
        ],
      ],
      ['read configuration', ['GET', `${core}/configmaps`]],
      ['see functions elsewhere', ['GET', `/apis/apps/v1/namespaces/${names.other}/deployments`]],
      ['see functions everywhere', ['GET', '/apis/apps/v1/deployments']],
      ['see secrets elsewhere', ['GET', `/api/v1/namespaces/${names.other}/secrets`]],
      ['see the secrets of the gateways', ['GET', `/api/v1/namespaces/${names.openfaas}/secrets`]],
      ['see secrets everywhere', ['GET', '/api/v1/secrets']],
      ['see namespaces', ['GET', '/api/v1/namespaces']],
      ['make a namespace', ['POST', '/api/v1/namespaces', { metadata: { name: `${own}-x` } }]],
      ['remove its namespace', ['DELETE', `/api/v1/namespaces/${own}`]],
    ])('is not enough to %s', async (_what, request) => {
      const { status, body } = await as(...request);
      expect([status, body['reason']]).toEqual([403, 'Forbidden']);
    });
  });
}

let fake: FakeCluster | undefined;
afterAll(() => fake?.[Symbol.asyncDispose]());
access('the Role of the manifests', async () => {
  fake = await FakeCluster.start();
  return fake.kubeconfig;
});

/** A definition of a kind whose objects may have any fields. */
function definitionOf(group: string, version: string, plural: string, kind: string): object {
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  const versions = [{ name: version, served: true, storage: true, schema, subresources: { status: {} } }];
  const names = { plural, kind, singular: kind.toLowerCase() };
  const metadata = { name: `${plural}.${group}` };
  const spec = { group, scope: 'Namespaced', names, versions };
  return { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata, spec };
}

/** Marks requests of the test's own. */
const byHand = 'fieldManager=hand';

/** Rules for what has been asked: `GET /apis/apps/v1/namespaces/x/deployments?watch=true` → watch of apps/deployments. */
function rulesOf(requests: readonly string[]): Rule[] {
  return requests.map((line) => {
    const [, method = '', group = '', resource = '', name, subresource, query = ''] =
      /^(\w+) \/apis?(?:\/([^/]+))?\/v\w+\/namespaces\/[^/]+\/(\w+)(?:\/([^/?]+))?(?:\/(\w+))?(.*)$/.exec(line) ?? [];
    if (resource === '') throw new Error(`${line}: is of no namespace`);
    const reading = name !== undefined ? 'get' : query.includes('watch=true') ? 'watch' : 'list';
    const verb = { GET: reading, POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[method] ?? method;
    return { apiGroups: [group], resources: [[resource, subresource].filter(Boolean).join('/')], verbs: [verb] };
  });
}

it('the Role names each verb that a gateway uses, and no other', async () => {
  await using cluster = await FakeCluster.start({ namespaces: ['openfaas', 'openfaas-fn'] });
  await using admin = new ApiClient(cluster.kubeconfig);
  const definitions = [
    definitionOf('keda.sh', 'v1alpha1', 'scaledobjects', 'ScaledObject'),
    parse(readFileSync(definitionFile, 'utf8')),
    definitionOf('openfaas.com', 'v1', 'profiles', 'Profile'),
  ];
  const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  for (const definition of definitions) expect((await admin.ask('POST', path, definition)).status).toBe(201);
  const manifests = shippedManifests();
  const roles = manifests.filter(({ kind }) => /^(ServiceAccount|Role|RoleBinding)$/.test(kind));
  for (const role of roles) expect((await admin.ask('POST', pathOf(role), role)).status).toBe(201);
  const kubeconfig = cluster.kubeconfigFor('gateway', cluster.token('openfaas', 'millrace'));
  const from = cluster.requests.length;

  await using gateway = await testGateway(`
providers:
  cluster: { kind: kubernetes, kubeconfig: "${kubeconfig}", allowDeploy: true, functionResources: true }
functions: { kept: { image: "example.org/kept:1" } }
`);
  const faas = faasCli(gateway.url);
  const status = async (...asked: Parameters<typeof faas.send>): Promise<number> => (await faas.send(...asked)).status;
  const services = '/api/v1/namespaces/openfaas-fn/services';
  const isAsked = (line: RegExp): Promise<true> =>
    eventually(() => cluster.requests.slice(from).some((request) => line.test(request)) || undefined);
  /** Somebody else was quicker, once: what is there has to be looked at. */
  const conflictAt = (request: RegExp): void =>
    cluster.faults.answer({ status: 409, times: 1, when: ({ method, url }) => request.test(`${method} ${url}`) });
  await isAsked(/^POST .*services/);
  conflictAt(/^PUT .*services/);
  await admin.merge(`${services}/kept?${byHand}`, { spec: { ports: [{ port: 9090 }] } });
  await isAsked(/^GET .*services\/kept/);

  const name = { service: 'up', namespace: 'openfaas-fn' };
  expect(await status('POST', '/system/functions', { ...name, image: 'example.org/up:1' })).toBe(202);
  conflictAt(/^PUT .*deployments/);
  expect(await status('PUT', '/system/functions', { ...name, image: 'example.org/up:2' })).toBe(202);
  const scale = (replicas: number): Promise<number> =>
    status('POST', '/system/scale-function/up', { serviceName: 'up', replicas });
  expect(await scale(0)).toBe(202);
  await eventually(
    async () => (await faas.send('GET', '/system/function/up')).text.includes('"replicas":0') || undefined,
  );
  conflictAt(/^PATCH .*scale/);
  expect(await scale(1)).toBe(202);
  const secret = { name: 'key', namespace: 'openfaas-fn', value: 'x' };
  for (const method of ['POST', 'PUT', 'DELETE'])
    expect(await status(method, '/system/secrets', secret)).toBeLessThan(300);
  expect(await status('DELETE', '/system/functions', { functionName: 'up', namespace: 'openfaas-fn' })).toBe(202);
  await isAsked(/^DELETE .*services/);

  const resource = {
    apiVersion: 'openfaas.com/v1',
    kind: 'Function',
    metadata: { name: 'own' },
    spec: { name: 'own', image: 'example.org/own:1' },
  };
  const resources = '/apis/openfaas.com/v1/namespaces/openfaas-fn/functions';
  expect((await admin.ask('POST', `${resources}?${byHand}`, resource)).status).toBe(201);
  await isAsked(/^PATCH .*functions\/own\/status/);

  const asked = cluster.requests.slice(from).filter((line) => !line.includes(byHand));
  const granted = grantsOf(manifests.filter(({ kind }) => kind === 'Role').flatMap(({ rules }) => rules));
  expect(grantsOf(rulesOf(asked))).toEqual(granted);
});

await describeWithKube('the manifests on a real API server', (kubeconfig) => {
  access('their Role', async () => kubeconfig);

  describe('a dry run', () => {
    const { names, manifests, api } = installed(async () => kubeconfig);
    const accepted = (manifest: Manifest): Promise<Answer> =>
      api().ask('POST', `${pathOf(manifest)}?${strictDryRun}`, manifest);

    it('accepts each of them', async () => {
      for (const manifest of manifests) {
        const { status, text } = await accepted(manifest);
        expect([manifest.kind, status, status === 201 ? '' : text]).toEqual([manifest.kind, 201, '']);
      }
    });

    it('accepts the pod where only what is restricted may run, and not one that is more', async () => {
      const { metadata, spec } = the('Deployment', manifests).spec.template;
      // Admission looks for the account.
      const account = the('ServiceAccount', manifests);
      expect((await api().ask('POST', pathOf(account), account)).status).toBe(201);
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { ...metadata, name: 'gateway', namespace: names.openfaas },
        spec,
      };
      expect((await accepted(pod)).text).toContain('"phase":"Pending"');
      const loose = structuredClone(pod);
      loose.spec.containers[0].securityContext.capabilities = {};
      expect((await accepted(loose)).text).toContain('violates PodSecurity');
    });

    it('refuses a field that it does not know', async () => {
      const planted = structuredClone(the('Deployment', manifests));
      planted.spec.template.spec.readOnlyRoot = true;
      const { status, text } = await accepted(planted);
      expect(status).toBe(400);
      expect(text).toContain('unknown field');
    });
  });

  describe('the rules that the API server has made of them', () => {
    const { names, manifests, api } = installed(async () => kubeconfig);

    it('are those of the Role, and what everybody may', async () => {
      for (const manifest of manifests.filter(({ kind }) => /^(ServiceAccount|Role|RoleBinding)$/.test(kind)))
        expect((await api().ask('POST', pathOf(manifest), manifest)).status).toBe(201);
      const account = `/api/v1/namespaces/${names.openfaas}/serviceaccounts/millrace`;
      const { body } = await api().ask('POST', `${account}/token`, { spec: {} });
      const { token } = (body as Manifest).status;
      const granted = async (namespace: string): Promise<Record<string, string[]>> => {
        const path = '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews';
        const { body: review } = await api().ask('POST', path, { spec: { namespace } }, { token });
        const rules: Rule[] = (review as Manifest).status.resourceRules;
        const standard = /selfsubject/;
        return Object.fromEntries(Object.entries(grantsOf(rules)).filter(([resource]) => !standard.test(resource)));
      };
      const role = the('Role', manifests, 'millrace-functions');
      expect(await granted(names['openfaas-fn'])).toEqual(grantsOf(role.rules));
      expect(await granted(names.other)).toEqual({});
    });
  });
});
