import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiClient, type WatchEvent } from './api-client.ts';
import { FakeCluster } from './fake-cluster.ts';
import { isReady } from './fake-workloads.ts';
import { deploymentOf, itemsOf, objectOf, until } from './rules-world.ts';

const namespace = 'openfaas-fn';
const configMaps = `/api/v1/namespaces/${namespace}/configmaps`;
const deployments = `/apis/apps/v1/namespaces/${namespace}/deployments`;

/** What of the fake no real API server can be held to: the rules that both keep are in test/contract/kube-api.test.ts. */
describe('the fake cluster', () => {
  let cluster: FakeCluster;
  let api: ApiClient;

  beforeEach(async () => {
    const images = { 'test/name:1': (_: unknown, response: { end(text: string): void }) => response.end('hello') };
    cluster = await FakeCluster.start({ namespaces: [namespace], images, bookmarkMs: 20 });
    api = new ApiClient(cluster.kubeconfig);
  });
  afterEach(async () => {
    await api[Symbol.asyncDispose]();
    await cluster[Symbol.asyncDispose]();
  });

  const make = (name: string) => api.ask('POST', configMaps, { metadata: { name } });
  const follow = (path: string) => {
    const events: WatchEvent[] = [];
    const ended = (async () => {
      for await (const event of api.watch(path)) events.push(event);
    })().catch((error: unknown) => error);
    return { events, ended };
  };
  const deploy = async (image: string) => {
    await api.ask('POST', deployments, deploymentOf('one', { container: { image } }));
    await until(async () => cluster.pods(namespace).some(({ status }) => status?.['podIP'] !== undefined));
    const [pod] = cluster.pods(namespace);
    return { name: pod?.metadata.name ?? '', url: `http://${pod?.status?.['podIP'] as string}:8080/` };
  };

  it('tells who watches from before it forgot, and who goes on with a page from then, that they are too late', async () => {
    for (const name of ['a', 'b', 'c']) await make(name);
    const { body } = await api.get(`${configMaps}?limit=1`);
    const { continue: token, resourceVersion } = body['metadata'] as { continue: string; resourceVersion: string };
    await make('d');
    cluster.compact();
    const { events, ended } = follow(`${configMaps}?watch=true&resourceVersion=${resourceVersion}`);
    await ended;
    expect(events).toMatchObject([{ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } }]);
    expect((await api.get(`${configMaps}?limit=1&continue=${token}`)).status).toBe(410);
    const last = objectOf(await api.get(`${configMaps}/d`)).metadata.resourceVersion;
    const current = follow(`${configMaps}?watch=true&timeoutSeconds=1&resourceVersion=${last}`);
    await current.ended;
    expect(current.events).toEqual([]);
  });

  it('sends bookmarks to who wants them', async () => {
    const { events } = follow(`${configMaps}?watch=true&allowWatchBookmarks=true&resourceVersion=1`);
    await until(async () => events.filter(({ type }) => type === 'BOOKMARK').length >= 2);
  });

  it('breaks watches off, or says nothing more on them', async () => {
    const path = `${configMaps}?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Dlate`;
    const broken = follow(path);
    await until(async () => cluster.watches.size === 1);
    cluster.watches.drop('configmaps');
    expect(await broken.ended).toBeInstanceOf(Error);
    const silent = follow(path);
    await until(async () => cluster.watches.size === 1);
    cluster.watches.stall();
    await make('late');
    cluster.watches.resume();
    const fresh = follow(path);
    await until(async () => fresh.events.length === 1);
    expect(silent.events).toEqual([]);
    cluster.watches.drop();
    await Promise.all([silent.ended, fresh.ended]);
  });

  it('answers with faults, so often as it is told', async () => {
    cluster.faults.answer({ status: 429, retryAfterSeconds: 1, times: 1, when: ({ method }) => method === 'POST' });
    const refused = await make('a');
    expect([refused.status, refused.headers['retry-after']]).toEqual([429, '1']);
    expect((await make('a')).status).toBe(201);
    expect(cluster.faults.answered).toBe(1);
  });

  it('keeps what it has while its API server is away, and its pods go on', async () => {
    const { url } = await deploy('test/name:1');
    await cluster.stopApi();
    await expect(api.get(configMaps)).rejects.toThrow();
    expect(await (await fetch(url)).text()).toBe('hello');
    await cluster.startApi();
    expect(itemsOf(await api.get(deployments))).toHaveLength(1);
  });

  it('has pods that answer, break off and are replaced, or vanish without anybody being told', async () => {
    const first = await deploy('test/name:1');
    expect(await (await fetch(first.url)).text()).toBe('hello');
    await cluster.killPod(first.name, namespace);
    await expect(fetch(first.url)).rejects.toThrow();
    await until(async () =>
      cluster
        .pods(namespace)
        .some(({ metadata, status }) => metadata.name !== first.name && status?.['podIP'] !== undefined),
    );
    const [second] = cluster.pods(namespace);
    await cluster.vanishPod(second?.metadata.name ?? '', namespace);
    await expect(fetch(`http://${second?.status?.['podIP'] as string}:8080/`)).rejects.toThrow();
    expect(cluster.pods(namespace).map(isReady)).toEqual([true]);
  });

  it('holds pods back until they are let go', async () => {
    cluster.readyAfter('test/name:1', 'never');
    await api.ask(
      'POST',
      deployments,
      deploymentOf('one', { container: { image: 'test/name:1' }, spec: { progressDeadlineSeconds: 1 } }),
    );
    const conditions = async (): Promise<string> =>
      JSON.stringify(objectOf(await api.get(`${deployments}/one`)).status);
    await until(async () => (await conditions()).includes('ProgressDeadlineExceeded'));
    cluster.readyAfter('test/name:1', 0);
    await until(async () => (await conditions()).includes('"availableReplicas":1'));
  });

  it('gives the logs of a pod, from before and as they come', async () => {
    const { name } = await deploy('test/name:1');
    cluster.log(name, 'first', namespace);
    cluster.log(name, 'second', namespace);
    const path = `/api/v1/namespaces/${namespace}/pods/${name}/log`;
    expect((await api.get(`${path}?tailLines=1`)).text).toBe('second\n');
    const following = api.get(`${path}?follow=true`);
    await until(async () => cluster.requests.some((request) => request.includes('follow=true')));
    cluster.log(name, 'third', namespace);
    await cluster.killPod(name, namespace);
    expect((await following).text).toBe('first\nsecond\nthird\n');
  });

  it('accepts no token that was taken back', async () => {
    const token = cluster.token(namespace, 'default');
    expect((await api.get(configMaps, { token })).status).toBe(403);
    cluster.revoke(token);
    expect((await api.get(configMaps, { token })).status).toBe(401);
  });
});
