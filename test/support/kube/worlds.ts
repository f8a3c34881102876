import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiClient } from './api-client.ts';
import { FakeCluster } from './fake-cluster.ts';
import { Gate } from './gate.ts';
import { RealCluster, type RealPrograms } from './real-cluster.ts';
import { RealPods } from './real-pods.ts';
import type { PodHandler } from './stand-ins.ts';

/** A cluster with things to break, fake or real: what a test of a whole gateway needs of it. */
export interface KubeWorld extends AsyncDisposable {
  readonly name: 'fake' | 'real';
  /** A namespace of its own, marked as one of OpenFaaS. */
  readonly namespace: string;
  /** For the gateway: through the gate. */
  readonly kubeconfig: string;
  /** Past the gate, as administrator. Fails while the API server is restarted. */
  readonly api: ApiClient;
  readonly gate: Gate;
  /** Breaks off what a pod is at, and takes it out of the cluster; returns how many requests that were. */
  killPod(name: string): Promise<number>;
  /** The API server ends and starts again, with all that it keeps. */
  restartApi(): Promise<void>;
  /** Where it is a fake, for what cannot be done to a real one. */
  readonly fake?: FakeCluster;
}

type Images = Readonly<Record<string, PodHandler>>;

export async function fakeWorld(images: Images): Promise<KubeWorld> {
  const namespace = 'openfaas-fn';
  const cluster = await FakeCluster.start({ images, bookmarkMs: 500 });
  cluster.addNamespace(namespace, { openfaas: '1' });
  const gate = await Gate.open(Number(new URL(cluster.url).port));
  const api = new ApiClient(cluster.kubeconfig);
  const kubeconfig = throughGate(cluster.kubeconfig, gate);
  return {
    name: 'fake',
    namespace,
    kubeconfig: kubeconfig.file,
    api,
    gate,
    killPod: async (name) => {
      const pod = cluster.pods(namespace).find(({ metadata }) => metadata.name === name);
      const broken = pod ? cluster.inFlight(pod) : 0;
      await cluster.killPod(name, namespace);
      return broken;
    },
    restartApi: async () => {
      await cluster.stopApi();
      await cluster.startApi();
    },
    fake: cluster,
    [Symbol.asyncDispose]: async () => {
      await gate[Symbol.asyncDispose]();
      await api[Symbol.asyncDispose]();
      await cluster[Symbol.asyncDispose]();
      kubeconfig.remove();
    },
  };
}

/** A cluster that is this test's alone, since its API server is ended. Needs root: pods' addresses become ours. */
export async function realWorld(programs: RealPrograms, images: Images): Promise<KubeWorld> {
  const cluster = await RealCluster.start(programs);
  const world = await sharedWorld(cluster.kubeconfig, images);
  return {
    ...world,
    restartApi: async () => {
      await cluster.stopApi();
      await cluster.startApi();
    },
    [Symbol.asyncDispose]: async () => {
      await world[Symbol.asyncDispose]();
      await cluster[Symbol.asyncDispose]();
    },
  };
}

/** A namespace of a real cluster that others use too: its API server is only ever cut off by the gate. Needs root. */
export async function sharedWorld(shared: string, images: Images): Promise<KubeWorld> {
  const namespace = `world-${randomBytes(3).toString('hex')}`;
  const server = /server: https:\/\/127\.0\.0\.1:(\d+)/.exec(readFileSync(shared, 'utf8'))?.[1];
  const gate = await Gate.open(Number(server));
  const api = new ApiClient(shared);
  await api.ask('POST', '/api/v1/namespaces', { metadata: { name: namespace, labels: { openfaas: '1' } } });
  const pods = new RealPods(new ApiClient(shared), namespace, images);
  const kubeconfig = throughGate(shared, gate);
  return {
    name: 'real',
    namespace,
    kubeconfig: kubeconfig.file,
    api,
    gate,
    killPod: (name) => pods.kill(name),
    restartApi: () => Promise.reject(new Error('others use this API server')),
    [Symbol.asyncDispose]: async () => {
      await api.ask('DELETE', `/api/v1/namespaces/${namespace}`);
      await pods[Symbol.asyncDispose]();
      await gate[Symbol.asyncDispose]();
      await api[Symbol.asyncDispose]();
      kubeconfig.remove();
    },
  };
}

function throughGate(kubeconfig: string, gate: Gate): { readonly file: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-gate-'));
  const file = join(folder, 'kubeconfig');
  const text = readFileSync(kubeconfig, 'utf8').replace(/(127\.0\.0\.1):\d+/, `$1:${gate.port}`);
  writeFileSync(file, text, { mode: 0o600 });
  return { file, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
