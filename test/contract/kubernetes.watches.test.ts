import { afterEach, describe, expect, it } from 'vitest';
import { Cluster } from '../../plugins/providers/kubernetes/cluster.ts';
import { kubernetesConfig } from '../../plugins/providers/kubernetes/config.ts';
import type { InformerEvent } from '../../plugins/providers/kubernetes/informer.ts';
import { type KubeObject, kinds } from '../../plugins/providers/kubernetes/kinds.ts';
import { ApiClient } from '../support/kube/api-client.ts';
import { eventually } from '../support/gateway.ts';
import { FakeCluster } from '../support/kube/fake-cluster.ts';
import { deploymentOf } from '../support/kube/rules-world.ts';
import { recordingHost } from '../support/provider-host.ts';

const namespace = 'openfaas-fn';
const deployments = `/apis/apps/v1/namespaces/${namespace}/deployments`;
const secrets = `/api/v1/namespaces/${namespace}/secrets`;

const opened: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one[Symbol.asyncDispose]();
});

async function open(
  config: object = {},
  prepare: (api: ApiClient, fake: FakeCluster) => Promise<unknown> = async () => {},
) {
  const fake = await FakeCluster.start({ namespaces: [namespace] });
  const api = new ApiClient(fake.kubeconfig);
  opened.push(fake, api);
  await prepare(api, fake);
  const host = recordingHost('/');
  const parsed = kubernetesConfig.parse({ kubeconfig: fake.kubeconfig, requestTimeout: '2s', ...config });
  const cluster = await Cluster.open(parsed, host);
  const stop = async (): Promise<void> => {
    await cluster.stop();
    expect(host.failures).toEqual([]);
  };
  opened.push({ [Symbol.asyncDispose]: stop });
  const isSynced = await cluster.start();
  const events: string[] = [];
  const note = ({ type, object }: InformerEvent<KubeObject>): void =>
    void events.push(`${type} ${object.metadata.name}`);
  cluster.deployments.onEvent(note);
  return { fake, api, cluster, host, isSynced, events };
}

function functionOf(name: string): object {
  return deploymentOf(name, { labels: { faas_function: name } });
}

function names(cluster: Cluster): string[] {
  return [...cluster.deployments.list()].map(({ metadata }) => metadata.name).toSorted();
}

async function known(cluster: Cluster, ...expected: string[]): Promise<void> {
  await eventually(() => names(cluster).join() === expected.join() || undefined);
}

/** What came and went, each as often as it did. */
function come(events: readonly string[]): string[] {
  return events.filter((event) => !event.startsWith('changed')).toSorted();
}

function listings(fake: FakeCluster): number {
  const isList = /^GET \/apis\/apps\/v1\/namespaces\/openfaas-fn\/deployments\?(?!.*watch=true)/;
  return fake.requests.filter((request) => isList.test(request)).length;
}

describe('what is known of a cluster', () => {
  it('is all that was there, however many pages it takes', async () => {
    const count = 501;
    const { cluster, fake, isSynced } = await open({}, async (api) => {
      const numbers = Array.from({ length: count }, (_each, index) => index);
      await Promise.all(numbers.map((number) => api.ask('POST', secrets, { metadata: { name: `s-${number}` } })));
    });
    expect(isSynced).toBe(true);
    expect([...cluster.secrets.list(namespace)]).toHaveLength(count);
    expect(
      fake.requests.filter((request) => request.includes('/secrets') && request.includes('continue=')),
    ).toHaveLength(1);
  });

  it('has of secrets no value', async () => {
    const { cluster, api } = await open({}, (api) =>
      api.ask('POST', secrets, { metadata: { name: 'before' }, data: { key: 'c2VjcmV0' } }),
    );
    await api.ask('POST', secrets, { metadata: { name: 'after' }, data: { key: 'c2VjcmV0' } });
    await eventually(() => cluster.secrets.get(namespace, 'after'));
    for (const secret of cluster.secrets.list()) expect(Object.keys(secret)).not.toContain('data');
    expect(JSON.stringify([...cluster.secrets.list()])).not.toContain('c2VjcmV0');
    const login = { '.dockerconfigjson': Buffer.from('{"auths":{}}').toString('base64') };
    const type = 'kubernetes.io/dockerconfigjson';
    await api.ask('POST', secrets, { metadata: { name: 'registry' }, type, data: login });
    await eventually(() => cluster.pullSecrets.get(namespace, 'registry'));
    expect([...cluster.pullSecrets.list()]).toHaveLength(1);
  });

  it('follows what becomes of it', async () => {
    const { cluster, api, events } = await open({}, (api) => api.ask('POST', deployments, functionOf('a')));
    expect(names(cluster)).toEqual(['a']);
    await api.ask('POST', deployments, functionOf('b'));
    await api.ask('POST', deployments, deploymentOf('no-function'));
    await known(cluster, 'a', 'b');
    await api.ask('DELETE', `${deployments}/a`);
    await known(cluster, 'b');
    expect(come(events)).toEqual(['added b', 'removed a']);
    expect(cluster.deployments.get(namespace, 'b')?.metadata.managedFields).toBeUndefined();
  });

  it('goes on from where it was when watches break, and is listed again only when that is forgotten', async () => {
    const { cluster, api, fake, events } = await open({}, (api) => api.ask('POST', deployments, functionOf('a')));
    expect(listings(fake)).toBe(1);
    fake.watches.drop();
    await api.ask('POST', deployments, functionOf('b'));
    await known(cluster, 'a', 'b');
    expect(listings(fake)).toBe(1);
    // While nobody watches, one goes, one comes, and what happened is forgotten.
    await fake.stopApi();
    await eventually(() => cluster.troubles().length > 0 || undefined);
    expect(names(cluster)).toEqual(['a', 'b']);
    fake.faults.answer({
      status: 503,
      when: ({ url }) => url.includes('/deployments') && url.includes('watch=true'),
      times: 1,
    });
    await fake.startApi();
    await api.ask('DELETE', `${deployments}/a`);
    await api.ask('POST', deployments, functionOf('c'));
    fake.compact();
    await known(cluster, 'b', 'c');
    expect(listings(fake)).toBe(2);
    expect(come(events)).toEqual(['added b', 'added c', 'removed a']);
    await eventually(() => cluster.troubles().length === 0 || undefined);
  });

  it('notices a watch that has died without a word', async () => {
    const { cluster, api, fake } = await open({ watchTimeout: '1s' });
    fake.watches.stall();
    await api.ask('POST', deployments, functionOf('a'));
    expect(names(cluster)).toEqual([]);
    await eventually(() => cluster.troubles().length > 0 || undefined);
    fake.watches.resume();
    await known(cluster, 'a');
  });

  it('waits as long as a busy server asks for', async () => {
    const { cluster, api, fake } = await open();
    const from = performance.now();
    fake.faults.answer({
      status: 429,
      retryAfterSeconds: 2,
      times: 1,
      when: ({ url }) => url.includes('/deployments') && url.includes('watch=true'),
    });
    fake.watches.drop('deployments.apps');
    await api.ask('POST', deployments, functionOf('a'));
    await known(cluster, 'a');
    expect(performance.now() - from).toBeGreaterThan(2000);
  });

  it('needs neither KEDA nor resources of OpenFaaS, and is complete without', async () => {
    const { cluster, isSynced } = await open();
    expect(isSynced).toBe(true);
    expect([...cluster.functions.list(), ...cluster.scaledObjects.list(), ...cluster.profiles.list()]).toEqual([]);
    expect(cluster.troubles()).toEqual([]);
  });

  it('comes later when the API server is away at the start', async () => {
    const { cluster, fake, isSynced } = await open({ startTimeout: '300ms' }, async (api, fake) => {
      await api.ask('POST', deployments, functionOf('a'));
      await fake.stopApi();
    });
    expect(isSynced).toBe(false);
    expect(cluster.troubles().length).toBeGreaterThan(0);
    await fake.startApi();
    await known(cluster, 'a');
    await eventually(() => cluster.isSynced || undefined);
  });

  it('is that of the namespaces which a selector finds, as they come and go', async () => {
    const { cluster, api, fake } = await open({ namespaceSelector: 'openfaas=1' }, async (api, fake) => {
      fake.addNamespace('one', { openfaas: '1' });
      await api.ask('POST', '/apis/apps/v1/namespaces/one/deployments', functionOf('a'));
      await api.ask('POST', deployments, functionOf('elsewhere'));
    });
    await known(cluster, 'a');
    fake.addNamespace('two', { openfaas: '1' });
    await api.ask('POST', '/apis/apps/v1/namespaces/two/deployments', functionOf('b'));
    await known(cluster, 'a', 'b');
    await api.merge('/api/v1/namespaces/one', { metadata: { labels: { openfaas: null } } });
    await known(cluster, 'b');
    expect([...cluster.namespaceNames]).toEqual(['two']);
    await eventually(() => fake.watches.countOf('deployments.apps') === 1 || undefined);
  });

  it('is nobody’s whose token has run out', async () => {
    const { cluster, fake } = await open();
    fake.revoke(fake.adminToken);
    await expect(cluster.client.get(kinds.namespaces, undefined, namespace)).rejects.toMatchObject({ status: 401 });
  });

  it('knows at once what a write has answered, whatever the watch says of before', async () => {
    const { cluster, api, fake, events } = await open({}, (api) => api.ask('POST', deployments, functionOf('a')));
    fake.watches.stall();
    const before = cluster.deployments.get(namespace, 'a');
    if (!before) throw new Error('a is not known');
    await cluster.client.remove(kinds.deployments, namespace, 'a', { propagationPolicy: 'Background' });
    cluster.deployments.bury(before);
    expect(names(cluster)).toEqual([]);
    cluster.deployments.learn(before);
    expect(names(cluster)).toEqual([]);
    const { body } = await api.ask('POST', deployments, functionOf('a'));
    cluster.deployments.learn(body as unknown as typeof before);
    expect(names(cluster)).toEqual(['a']);
    fake.watches.resume();
    fake.watches.drop();
    await api.ask('POST', deployments, functionOf('b'));
    await known(cluster, 'a', 'b');
    expect(come(events)).toEqual(['added a', 'added b', 'removed a']);
  });
});
