import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { connect as connectTo, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import type { Invocation, Outcome } from '../../core/contracts/invocation.ts';
import { Attempt } from '../../core/kit/upstream/attempt.ts';
import { plainConnector } from '../../core/kit/upstream/plain-connector.ts';
import { makeCall, makeInvocation } from '../../core/testing/index.ts';
import { bytesOf } from '../../core/testing/provider-contract.ts';
import { kubernetesConfig } from '../../plugins/providers/kubernetes/config.ts';
import { type ClusterView, Functions } from '../../plugins/providers/kubernetes/functions.ts';
import { Objects } from '../../plugins/providers/kubernetes/informer.ts';
import type {
  KubeAutoscaler,
  KubeDeployment,
  KubeEndpointSlice,
  KubeScaledObject,
} from '../../plugins/providers/kubernetes/kinds.ts';
import type { Pod as KubePod } from '../../plugins/providers/kubernetes/pod.ts';
import { Pods } from '../../plugins/providers/kubernetes/pods.ts';
import { bodyOf, type Handler } from '../support/http-functions.ts';
import { recordingHost } from '../support/provider-host.ts';

const namespace = 'fn';
const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

let lastAddress = 0;

interface Pod {
  readonly address: string;
  readonly seen: string[];
  readonly sockets: ReadonlySet<Socket>;
  readonly listen: () => Promise<void>;
  /** Its connections break, and nobody listens there any more. */
  readonly kill: () => Promise<void>;
}

/** A server on a loopback address of its own, as a pod has one. */
async function pod(handler: Handler = (_request, response) => void response.end('ok')): Promise<Pod> {
  const address = `127.65.0.${++lastAddress}`;
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  let server = createServer();
  const listen = async (): Promise<void> => {
    server = createServer((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      void handler(request, response);
    });
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    server.listen(8080, address);
    await once(server, 'listening');
  };
  const kill = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  await listen();
  ends.push(kill);
  return { address, seen, sockets, listen, kill };
}

/** An address that neither takes a connection nor refuses one, as a node that has gone: its server is stopped and full. */
async function deafAddress(): Promise<string> {
  const address = `127.65.0.${++lastAddress}`;
  const script = `require('net').createServer().listen({ host: '${address}', port: 8080, backlog: 1 }, () => console.log(1))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  ends.push(async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  await once(child.stdout, 'data');
  child.kill('SIGSTOP');
  for (let isFull = false; !isFull;) {
    const socket = connectTo(8080, address).on('error', () => undefined);
    ends.push(async () => socket.destroy());
    const connected = once(socket, 'connect').then(() => false);
    isFull = await Promise.race([connected, wait(200, true)]);
  }
  return address;
}

type Endpoint = NonNullable<KubeEndpointSlice['endpoints']>[number];

/** The functions of a cluster whose informers are filled by hand. */
function world(config: Readonly<Record<string, unknown>> = {}) {
  const objects = <T extends { metadata: { name: string; resourceVersion: string } }>() =>
    new Objects<T>(() => [namespace]);
  const cluster = {
    deployments: objects<KubeDeployment>(),
    endpointSlices: objects<KubeEndpointSlice>(),
    autoscalers: objects<KubeAutoscaler>(),
    scaledObjects: objects<KubeScaledObject>(),
  };
  const host = recordingHost('/');
  const parsed = kubernetesConfig.parse(config);
  const functions = new Functions(cluster as unknown as ClusterView, parsed, host);
  functions.start();
  ends.push(() => functions.stop(0));
  let version = 0;
  const metadata = (name: string, labels = {}) => ({ name, namespace, labels, resourceVersion: String(++version) });
  const put = (replicas = 1, env: Readonly<Record<string, string>> = {}): void => {
    const variables = Object.entries(env).map(([name, value]) => ({ name, value }));
    const template = { spec: { containers: [{ name: 'a', env: variables }] } };
    const labels = { faas_function: 'a' };
    cluster.deployments.put(namespace, {
      metadata: { ...metadata('a', labels), uid: 'd' },
      spec: { replicas, selector: {}, template },
    });
  };
  const slice = (name: string, endpoints: readonly (Endpoint | Pod)[]): void => {
    cluster.endpointSlices.put(namespace, {
      metadata: { ...metadata(name, { 'kubernetes.io/service-name': 'a' }), uid: name },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080 }],
      endpoints: endpoints.map((each) => ('address' in each ? { addresses: [each.address] } : { ...each })),
    });
  };
  put();
  functions.bind('a.fn');
  return {
    cluster,
    functions,
    put,
    slice,
    host,
    status: () => host.statuses.at(-1),
    call: (set: Partial<Invocation> = {}): Promise<Outcome> =>
      functions.invoke('a.fn', makeCall(makeInvocation('a.fn', set))),
    text: async (set: Partial<Invocation> = {}): Promise<string> => {
      const outcome = await functions.invoke('a.fn', makeCall(makeInvocation('a.fn', set)));
      return (await bytesOf(outcome)).toString();
    },
  };
}

/** Answers when it is told to. */
function held(): { readonly handler: Handler; readonly let: () => void; readonly count: () => number } {
  const waiting: (() => void)[] = [];
  return {
    handler: async (_request, response) => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      response.end('held');
    },
    let: () => {
      for (const each of waiting.splice(0)) each();
    },
    count: () => waiting.length,
  };
}

describe('calls to pods', () => {
  it('go to each in turn, in whatever slices they are, and to the one with the fewest', async () => {
    const { slice, call } = world();
    const slow = held();
    const pods = [await pod(), await pod(), await pod()] as const;
    const busy = await pod(slow.handler);
    slice('one', [pods[0], pods[1]]);
    slice('two', [pods[2]]);
    for (let count = 0; count < 9; count++) expect((await call()).status).toBe(200);
    expect(pods.map(({ seen }) => seen.length)).toEqual([3, 3, 3]);
    slice('two', [busy]);
    const waiting = [call(), call(), call()];
    await expect.poll(slow.count).toBe(1);
    await expect.poll(() => pods[0].seen.length + pods[1].seen.length).toBe(8);
    for (let count = 0; count < 6; count++) await call();
    expect(slow.count()).toBe(1);
    slow.let();
    await Promise.all(waiting);
  });
  it('end with 502 when theirs is killed, and those that were not sent go to another one', async () => {
    const { slice, call, text, status } = world();
    const slow = held();
    const [killed, other] = [await pod(slow.handler), await pod(() => undefined)];
    slice('one', [killed]);
    const broken = call({ body: Buffer.from('x') });
    await expect.poll(slow.count).toBe(1);
    await killed.kill();
    expect(await broken).toMatchObject({ status: 502, failure: 'connection', error: { code: 'function.unreachable' } });
    const there = await pod(async (request, response) => void response.end(await bodyOf(request)));
    slice('one', [killed, there]);
    for (let count = 0; count < 4; count++) expect(await text({ body: Buffer.from('kept') })).toBe('kept');
    expect(status()).toMatchObject({ state: 'ready', availableReplicas: 1, capacity: 128 });
    expect(other.seen).toEqual([]);
    await killed.listen();
    await expect.poll(() => status()?.availableReplicas).toBe(2);
  });
  it('are refused at once while no pod can be connected to, until one can', async () => {
    const { slice, call, status } = world();
    const only = await pod();
    await only.kill();
    slice('one', [only]);
    expect(await call({ body: Buffer.from('x') })).toMatchObject({ status: 502, failure: 'connection' });
    const next = await call({ body: Buffer.from('x') });
    expect(next).toMatchObject({ status: 503, failure: 'overload', error: { code: 'function.not-ready' } });
    expect(next.retryAfterSeconds).toBeGreaterThanOrEqual(1);
    expect(status()).toMatchObject({ state: 'ready', availableReplicas: 0 });
    await only.listen();
    await expect.poll(() => status()?.availableReplicas).toBe(1);
    expect((await call()).status).toBe(200);
  });
  it('are tried again with a pod as soon as the cluster calls it ready', async () => {
    const { slice, call, status } = world();
    const only = await pod();
    await only.kill();
    slice('one', [only]);
    await call({ body: Buffer.from('x') });
    slice('one', [{ addresses: [only.address], conditions: { ready: false } }]);
    expect(status()).toMatchObject({ state: 'scaling', availableReplicas: 0 });
    await only.listen();
    slice('one', [only]);
    expect(status()).toMatchObject({ state: 'ready', availableReplicas: 1 });
  });
  it('end where they are when their pod leaves, and new ones do not go there', async () => {
    const { slice, call, text, cluster, status } = world();
    const slow = held();
    const [leaving, there] = [await pod(slow.handler), await pod((_request, response) => void response.end('there'))];
    slice('one', [leaving]);
    const running = call();
    await expect.poll(slow.count).toBe(1);
    slice('two', [there]);
    cluster.endpointSlices.remove(namespace, 'one');
    for (let count = 0; count < 4; count++) expect(await text()).toBe('there');
    slow.let();
    expect((await bytesOf(await running)).toString()).toBe('held');
    await expect.poll(() => leaving.sockets.size).toBe(0);
    cluster.endpointSlices.remove(namespace, 'two');
    expect(status()).toMatchObject({ state: 'scaling', replicas: 1, availableReplicas: 0 });
  });
  it('stay counted while their pod is not ready for a while, as one whose requests are too many', async () => {
    const { slice, call } = world();
    const slow = held();
    const [busy, idle] = [await pod(slow.handler), await pod()];
    slice('one', [busy]);
    const running = [call(), call()];
    await expect.poll(slow.count).toBe(2);
    slice('one', [{ addresses: [busy.address], conditions: { ready: false } }, idle]);
    slice('one', [busy, idle]);
    for (let count = 0; count < 4; count++) await call();
    expect(idle.seen).toHaveLength(4);
    slow.let();
    await Promise.all(running);
  });
  it('go to no function that is gone, or that nobody has bound', async () => {
    const { slice, call, functions, cluster } = world();
    slice('one', [await pod()]);
    expect((await call()).status).toBe(200);
    functions.unbind('a.fn');
    expect(await call()).toMatchObject({ failure: 'missing' });
    functions.bind('a.fn');
    expect((await call()).status).toBe(200);
    cluster.deployments.remove(namespace, 'a');
    expect(await call()).toMatchObject({ failure: 'missing' });
  });
  it('go to another pod when theirs accepts no connection in time', async () => {
    const { slice, text, status } = world({ connectTimeout: '100ms' });
    const there = await pod((_request, response) => void response.end('there'));
    slice('one', [{ addresses: [await deafAddress()] }, there]);
    for (let count = 0; count < 4; count++) expect(await text({ body: Buffer.from('x') })).toBe('there');
    expect(status()).toMatchObject({ state: 'ready', availableReplicas: 1 });
  });
  it('leave no connection behind once they have become rare', async () => {
    const connected = new Set<KubePod>();
    const there = await pod();
    const settings = { connections: 1, keepAlive: 60_000, maxHeaders: 16_384, connected };
    const connect = plainConnector(1000);
    const pods = new Pods({ ...settings, connect, clock: systemClock }, () => undefined);
    pods.update([{ key: 'one', origin: `http://${there.address}:8080`, isReady: true }]);
    expect(connected.size).toBe(0);
    const call = (): Promise<Outcome> =>
      new Promise((settle) => {
        new Attempt(makeCall(makeInvocation('a.fn')), pods, systemClock, settle).begin();
      });
    await call();
    expect(connected.size).toBe(1);
    for (const each of connected) each.closeIfIdle();
    await call();
    expect(there.sockets.size).toBe(1);
    for (const each of connected) each.closeIfIdle();
    for (const each of connected) each.closeIfIdle();
    expect(connected.size).toBe(0);
    await expect.poll(() => there.sockets.size).toBe(0);
    await call();
    expect(there.seen).toHaveLength(3);
    await pods.destroy();
  });
  it('go to the Service where the configuration says so, while any pod is ready', async () => {
    const service = await pod();
    const url = `http://${service.address}:8080/{namespace}/{name}`;
    const { slice, call, status } = world({ via: 'service', serviceUrl: url, connections: 10 });
    slice('one', [{ addresses: ['10.9.9.9'] }, { addresses: ['10.9.9.8'] }]);
    expect(status()).toMatchObject({ state: 'ready', availableReplicas: 2, capacity: 20 });
    expect((await call({ path: '/x', query: '?y' })).status).toBe(200);
    expect(service.seen).toEqual(['POST /fn/a/x?y']);
    slice('one', []);
    expect(status()).toMatchObject({ state: 'scaling', availableReplicas: 0 });
  });
});

describe('the status of a function in the cluster', () => {
  it('is told when it has changed, and else not', async () => {
    const { slice, put, host } = world();
    const only = await pod();
    const { length } = host.statuses;
    slice('one', [only]);
    slice('one', [only]);
    put();
    expect(host.statuses.slice(length)).toMatchObject([{ state: 'ready', availableReplicas: 1 }]);
    put(3, { max_inflight: '5' });
    expect(host.statuses.at(-1)).toMatchObject({ replicas: 3, availableReplicas: 1, capacity: 5 });
    put(0);
    expect(host.statuses.at(-1)).toMatchObject({ state: 'cold', replicas: 0 });
  });
  it('names who scales it', () => {
    const { cluster, status } = world();
    const target = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'a' };
    const metadata = (name: string) => ({ name, namespace, resourceVersion: '1', uid: name });
    const autoscaler = (name: string, ref = target): KubeAutoscaler => ({
      metadata: metadata(name),
      spec: { maxReplicas: 3, scaleTargetRef: ref },
    });
    cluster.autoscalers.put(namespace, autoscaler('other', { ...target, kind: 'StatefulSet' }));
    expect(status()?.scaledBy).toBeUndefined();
    cluster.autoscalers.put(namespace, autoscaler('resize'));
    expect(status()?.scaledBy).toBe('HorizontalPodAutoscaler resize');
    cluster.scaledObjects.put(namespace, { metadata: metadata('keda'), spec: { scaleTargetRef: { name: 'a' } } });
    expect(status()?.scaledBy).toBe('ScaledObject keda');
    cluster.scaledObjects.remove(namespace, 'keda');
    const moved = autoscaler('resize', { ...target, name: 'b' });
    cluster.autoscalers.put(namespace, { ...moved, metadata: { ...moved.metadata, resourceVersion: '2' } });
    expect(status()?.scaledBy).toBeUndefined();
  });
});
