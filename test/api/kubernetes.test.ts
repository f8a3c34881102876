import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { testGateway } from '../support/gateway.ts';
import { bodyOf, type Handler } from '../support/http-functions.ts';
import type { KubeObject } from '../support/kube/fake-objects.ts';
import { itemsOf, objectOf, until } from '../support/kube/rules-world.ts';
import { describeWithKube } from '../support/kube/with-kube.ts';
import { fakeWorld, type KubeWorld, sharedWorld } from '../support/kube/worlds.ts';
import { faasCli } from '../support/openfaas.ts';

const fixture = join(import.meta.dirname, '../fixtures/kubernetes/faas-netes.yaml');

const echo: Handler = async (request, response) => {
  const body = await bodyOf(request);
  response.setHeader('x-path', request.url ?? '');
  response.end(body);
};
const images = { 'test/echo:1': echo };

const yaml = ({ kubeconfig, namespace }: KubeWorld): string => `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  namespace: ${namespace}
  auth: { basic: { user: admin, password: geheim } }
policies: { retry: { standard: { attempts: 1000, backoff: { kind: fixed, initial: 100ms } } } }
providers:
  cluster: { kind: kubernetes, kubeconfig: ${kubeconfig}, namespaces: [${namespace}], allowDeploy: true }
`;

async function start(makeWorld: () => Promise<KubeWorld>) {
  const world = await makeWorld();
  onTestFinished(() => world[Symbol.asyncDispose]());
  const gateway = await testGateway(yaml(world));
  onTestFinished(() => gateway[Symbol.asyncDispose]());
  const deployments = `/apis/apps/v1/namespaces/${world.namespace}/deployments`;
  return { world, gateway, faas: faasCli(gateway.url), deployments };
}

const pathOf = ({ kind, metadata }: KubeObject, namespace: string): string => {
  const group = kind === 'Deployment' ? '/apis/apps/v1' : '/api/v1';
  return `${group}/namespaces/${namespace}/${kind.toLowerCase()}s?fieldValidation=Strict&name=${metadata.name}`;
};

function functionsOfACluster(makeWorld: () => Promise<KubeWorld>): void {
  it('are served as faas-netes left them', async () => {
    const { world, faas } = await start(makeWorld);
    for (const document of parseAllDocuments(readFileSync(fixture, 'utf8'))) {
      const object = document.toJS() as KubeObject;
      expect((await world.api.ask('POST', pathOf(object, world.namespace), object)).status).toBe(201);
    }
    await until(async () => (await faas.invoke('figlet', 'hello')).status === 200);
    const { text, headers } = await faas.invoke('figlet/some/path?a=b', 'hello');
    expect([text, headers['x-path']]).toEqual(['hello', '/some/path?a=b']);
    expect(await faas.json('/system/functions')).toMatchObject([
      {
        name: 'figlet',
        namespace: world.namespace,
        image: 'test/echo:1',
        replicas: 1,
        availableReplicas: 1,
        envProcess: 'figlet',
        envVars: { mode: 'loud' },
        secrets: ['api-key'],
        labels: { faas_function: 'figlet', team: 'art' },
        annotations: { topic: 'art' },
        readOnlyRootFilesystem: true,
      },
    ]);
    expect((await faas.invoke('figlet', 'queued', 'async-function')).status).toBe(202);
  });

  it('are made by what faas-cli sends, and the API server takes them', async () => {
    const { world, faas, deployments } = await start(makeWorld);
    expect(
      (await faas.deploy('made', 'test/echo:1', { namespace: world.namespace, labels: { team: 'art' } })).status,
    ).toBe(202);
    const found = objectOf(await world.api.get(`${deployments}/made`));
    expect(found.metadata.labels).toMatchObject({ faas_function: 'made' });
    await until(async () => (await faas.invoke('made', 'hello')).text === 'hello');
    const functionName = 'made';
    expect((await faas.send('DELETE', '/system/functions', { functionName, namespace: world.namespace })).status).toBe(
      202,
    );
    await until(async () => itemsOf(await world.api.get(deployments)).length === 0);
    expect((await faas.invoke('made')).status).toBe(404);
  });
}

describe('functions of a cluster', () => {
  functionsOfACluster(() => fakeWorld(images));

  it('that are removed while calls are on their way to them get these when they are deployed again', async () => {
    const { world, faas, deployments } = await start(() => fakeWorld(images));
    const asked = { namespace: world.namespace };
    // The call waits for a pod, leased from its queue, when its function goes.
    world.fake?.readyAfter('test/echo:1', 'never');
    await faas.deploy('later', 'test/echo:1', asked);
    const { status, headers } = await faas.invoke('later', 'patience', 'async-function');
    expect(status).toBe(202);
    const record = async (): Promise<Record<string, unknown>> =>
      JSON.parse((await faas.send('GET', `/invocations/${String(headers['x-invocation-id'])}`)).text) as Record<
        string,
        unknown
      >;
    await until(async () => (await record())['state'] === 'running');
    await faas.send('DELETE', '/system/functions', { functionName: 'later', ...asked });
    await until(async () => itemsOf(await world.api.get(deployments)).length === 0);
    world.fake?.readyAfter('test/echo:1', 0);
    await faas.deploy('later', 'test/echo:1', asked);
    await until(async () => ['succeeded', 'dead'].includes(String((await record())['state'])));
    expect(await record()).toMatchObject({ state: 'succeeded' });
  });

  it('are deployed by faas-cli', async ({ skip }) => {
    const cli = promisify(execFile);
    const there = await cli('faas-cli', ['version', '--short-version']).then(
      () => true,
      () => false,
    );
    if (!there) skip('faas-cli is not on the PATH');
    const { world, gateway, deployments } = await start(() => fakeWorld(images));
    const login = ['login', '--gateway', gateway.url, '--username', 'admin', '--password', 'geheim'];
    await cli('faas-cli', login, { env: { ...process.env, HOME: gateway.folder } });
    const deploy = [
      'deploy',
      '--gateway',
      gateway.url,
      '--image',
      'test/echo:1',
      '--name',
      'by-cli',
      '--namespace',
      world.namespace,
    ];
    await cli('faas-cli', deploy, { env: { ...process.env, HOME: gateway.folder } });
    expect((await world.api.get(`${deployments}/by-cli`)).status).toBe(200);
  });
});

await describeWithKube(
  'functions of a real cluster',
  (kubeconfig) => functionsOfACluster(() => sharedWorld(kubeconfig, images)),
  { pods: true },
);
