import { join } from 'node:path';
import { request } from 'undici';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, inlinePlugin, testGateway, type TestGateway } from '../support/gateway.ts';
import { clusterOf, clusters } from '../support/plugins/found.ts';

const plugins = [inlinePlugin, join(import.meta.dirname, '../support/plugins/found.ts')];
const top = 'gateway: { listen: { port: 0 }, management: { port: 0 } }\n';
const provider = (cluster: string, more = 'allowDeploy: true'): string =>
  `${top}providers: { inline: { kind: inline-test }, cluster: { kind: found-test, cluster: ${cluster}, ${more} } }\n`;
let running: TestGateway | undefined;

beforeEach(() => {
  for (const name of Object.keys(clusters)) delete clusters[name];
});
afterEach(async () => {
  await running?.[Symbol.asyncDispose]();
  running = undefined;
});

async function start(yaml: string): Promise<TestGateway> {
  running = await testGateway(yaml, {}, plugins);
  return running;
}

async function call(path: string, method = 'POST', data?: unknown): Promise<{ status: number; text: string }> {
  const answer = await request(`${running?.url}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: data === undefined ? null : JSON.stringify(data),
  });
  return { status: answer.statusCode, text: await answer.body.text() };
}

const statusIs = (path: string, status: number): Promise<true> =>
  eventually(async () => ((await call(path)).status === status ? true : undefined));

describe('functions that a provider keeps by itself', () => {
  it('are served, as they were found at the start and as they come, change and go', async () => {
    const cluster = clusterOf('one');
    cluster.put('early');
    await start(provider('one', 'allowDeploy: false'));
    expect(await call('/function/early')).toEqual({ status: 200, text: 'example/early' });
    cluster.put('late');
    await statusIs('/function/late', 200);
    cluster.put('late', { 'com.openfaas.retry.attempts': '7' });
    await eventually(async () =>
      (await call('/system/function/late', 'GET')).text.includes('"com.openfaas.retry.attempts":"7"')
        ? true
        : undefined,
    );
    cluster.set('late.openfaas-fn', undefined);
    await statusIs('/function/late', 404);
    expect((await call('/function/early')).status).toBe(200);
    // Of many, only those that changed are told to the provider again.
    expect(cluster.told.filter((word) => word.endsWith('early.openfaas-fn'))).toEqual(['deploy early.openfaas-fn']);
  });

  it('keep what is queued for them while they are gone', async () => {
    const cluster = clusterOf('one');
    const retried = { 'com.openfaas.retry.min_wait': '200ms', 'com.openfaas.retry.codes': '500' };
    cluster.put('worker', retried, 'fails');
    await start(provider('one'));
    const accepted = await request(`${running?.url}/async-function/worker`, { method: 'POST', body: 'x' });
    const id = String(accepted.headers['x-invocation-id']);
    await accepted.body.dump();
    const invocation = async (): Promise<string> => (await call(`/invocations/${id}`, 'GET')).text;
    await eventually(async () => ((await invocation()).includes('"attempt":1') ? true : undefined));
    cluster.set('worker.openfaas-fn', undefined);
    await statusIs('/function/worker', 404);
    cluster.put('worker', retried);
    await eventually(async () => ((await invocation()).includes('"succeeded"') ? true : undefined));
  });

  it('are left out where they cannot be had, and keep no others out', async () => {
    const cluster = clusterOf('one');
    cluster.put('wrong', { 'com.openfaas.retry.attempts': 'many' });
    cluster.put('right');
    await start(provider('one'));
    expect((await call('/function/wrong')).status).toBe(404);
    expect((await call('/function/right')).status).toBe(200);
    cluster.put('broken', { broken: 'yes' });
    cluster.put('late');
    await statusIs('/function/late', 200);
    expect((await call('/function/broken')).status).toBe(404);
    cluster.put('wrong');
    await statusIs('/function/wrong', 200);
  });

  it('give way to what the configuration declares, and are changed there', async () => {
    clusterOf('one').put('echo');
    await start(`${provider('one')}functions: { echo: { provider: inline, behaviour: fail } }\n`);
    expect((await call('/function/echo')).text).toContain('it failed');
    expect((await call('/system/functions', 'PUT', { service: 'echo', image: 'x' })).status).toBe(409);
    expect((await call('/system/functions', 'DELETE', { functionName: 'echo' })).status).toBe(409);
    await running?.reload(provider('one'));
    expect((await call('/function/echo')).text).toBe('example/echo');
  });

  it('are made, replaced and removed through the API', async () => {
    const cluster = clusterOf('one');
    await start(provider('one'));
    expect((await call('/system/functions', 'PUT', { service: 'made', image: 'a' })).status).toBe(404);
    expect((await call('/system/functions', 'POST', { service: 'made', image: 'a' })).status).toBe(202);
    expect(await call('/function/made')).toEqual({ status: 200, text: 'a' });
    expect((await call('/system/functions', 'POST', { service: 'made', image: 'b' })).status).toBe(409);
    expect((await call('/system/functions', 'PUT', { service: 'made', image: 'b' })).status).toBe(202);
    expect(await call('/function/made')).toEqual({ status: 200, text: 'b' });
    const refused = { service: 'made', image: 'c', annotations: { 'com.openfaas.retry.attempts': 'many' } };
    expect((await call('/system/functions', 'PUT', refused)).status).toBe(400);
    expect(cluster.functions.get('made.openfaas-fn')?.deployment.image).toBe('b');
    expect((await call('/system/functions', 'DELETE', { functionName: 'made' })).status).toBe(202);
    expect((await call('/function/made')).status).toBe(404);
    expect((await call('/system/functions', 'DELETE', { functionName: 'made' })).status).toBe(404);
  });

  it('are in namespaces that the provider keeps', async () => {
    const cluster = clusterOf('one');
    cluster.namespaces.push({ name: 'staging', labels: { openfaas: '1' }, annotations: {} });
    await start(provider('one'));
    expect(JSON.parse((await call('/system/namespaces', 'GET')).text)).toEqual(['openfaas-fn', 'staging']);
    const made = { service: 'made', image: 'a', namespace: 'staging' };
    expect((await call('/system/functions', 'POST', made)).status).toBe(202);
    expect((await call('/function/made.staging')).status).toBe(200);
    expect((await call('/system/functions', 'POST', { ...made, namespace: 'nowhere' })).status).toBe(400);
    expect((await call('/system/namespace/staging', 'DELETE', { name: 'staging' })).status).toBe(409);
    await call('/system/functions', 'DELETE', { functionName: 'made', namespace: 'staging' });
    expect((await call('/system/namespace/staging', 'DELETE', { name: 'staging' })).status).toBe(202);
    expect(cluster.namespaces.map(({ name }) => name)).toEqual(['openfaas-fn']);
  });

  it('are those of the provider that runs after a reload, and no more of the one before', async () => {
    clusterOf('one').put('first');
    clusterOf('two').put('second');
    await start(provider('one'));
    await running?.reload(provider('two'));
    await statusIs('/function/second', 200);
    await statusIs('/function/first', 404);
    clusterOf('one').put('third');
    clusterOf('two').put('fourth');
    await statusIs('/function/fourth', 200);
    expect((await call('/function/third')).status).toBe(404);
    expect([clusterOf('one').followers, clusterOf('two').followers]).toEqual([0, 1]);
  });
});
