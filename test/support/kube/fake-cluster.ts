import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Faults } from './fake-faults.ts';
import { Kubelet } from './fake-kubelet.ts';
import { timeNow, type KubeObject } from './fake-objects.ts';
import {
  configMaps,
  deployments,
  endpointSlices,
  namespaces,
  pods,
  type Resource,
  secrets,
  serviceAccounts,
  services,
} from './fake-resources.ts';
import { ApiServer, type LogHandler } from './fake-server.ts';
import type { Change } from './fake-store.ts';
import { Slices } from './fake-slices.ts';
import type { Watches } from './fake-watches.ts';
import type { PodHandler } from './stand-ins.ts';
import { Workloads } from './fake-workloads.ts';

export interface FakeClusterOptions {
  /** What the containers of an image do, by its name; `*` for all others. A pod of any other image only becomes ready. */
  readonly images?: Readonly<Record<string, PodHandler>>;
  /** How often a watch that wants bookmarks gets one; the real one sends one a minute. */
  readonly bookmarkMs?: number;
  readonly namespaces?: readonly string[];
}

/**
 * A Kubernetes cluster in this process: a strict API server on 127.0.0.1, the controllers of Deployments, ReplicaSets,
 * EndpointSlices and owned objects, and pods that are HTTP servers on loopback addresses of their own. What it promises
 * is checked against a real one by `test/contract/kube-api.test.ts`.
 */
export class FakeCluster implements AsyncDisposable {
  readonly #api: ApiServer;
  readonly #kubelet: Kubelet;
  readonly #workloads: Workloads;
  readonly #folder = mkdtempSync(join(tmpdir(), 'millrace-kube-'));
  readonly #images: Map<string, PodHandler>;
  readonly #logs = new Map<string, string[]>();
  #server: Server | undefined;
  #port = 0;

  private constructor({ images = {}, bookmarkMs = 60_000, namespaces: names = [] }: FakeClusterOptions) {
    this.#images = new Map(Object.entries(images));
    const logs: LogHandler = (pod, query, response) => this.#answerLogs(pod, query, response);
    this.#api = new ApiServer(bookmarkMs, logs);
    const { store, deletes } = this.#api;
    store.onChange((change) => this.#furnish(change));
    this.#workloads = new Workloads(store, deletes);
    new Slices(store, deletes);
    this.#kubelet = new Kubelet(store, deletes, this.#images);
    for (const name of ['default', 'kube-system', ...names]) this.addNamespace(name);
  }

  static async start(options: FakeClusterOptions = {}): Promise<FakeCluster> {
    const cluster = new FakeCluster(options);
    await cluster.startApi();
    return cluster;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** A file with the administrator's credentials. */
  get kubeconfig(): string {
    return this.kubeconfigFor('admin', this.adminToken);
  }

  get adminToken(): string {
    return this.#api.adminToken;
  }

  get faults(): Faults {
    return this.#api.faults;
  }

  get watches(): Watches {
    return this.#api.watches;
  }

  /** Requests so far, the last ten thousand: `GET /api/v1/pods?limit=500`. */
  get requests(): readonly string[] {
    return this.#api.requests;
  }

  /** A kubeconfig of whoever has that token. */
  kubeconfigFor(name: string, token: string): string {
    const file = join(this.#folder, `${name}.kubeconfig`);
    writeFileSync(
      file,
      [
        'apiVersion: v1',
        'kind: Config',
        'current-context: fake',
        `clusters: [{name: fake, cluster: {server: "${this.url}", insecure-skip-tls-verify: true}}]`,
        `users: [{name: ${name}, user: {token: ${token}}}]`,
        `contexts: [{name: fake, context: {cluster: fake, user: ${name}, namespace: default}}]`,
        '',
      ].join('\n'),
      { mode: 0o600 },
    );
    return file;
  }

  /** A token of a service account. */
  token(namespace: string, account: string): string {
    return this.#api.tokenOf(namespace, account);
  }

  /** The token is answered 401 from now on. */
  revoke(token: string): void {
    this.#api.revoke(token);
  }

  addNamespace(name: string, labels: Readonly<Record<string, string>> = {}): void {
    if (this.#api.store.get(namespaces, `/${name}`)) return;
    const named = { 'kubernetes.io/metadata.name': name, ...labels };
    const metadata = { name, uid: '', resourceVersion: '', creationTimestamp: timeNow(), labels: named };
    const spec = { finalizers: ['kubernetes'] };
    this.#api.store.put(namespaces, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata,
      spec,
      status: { phase: 'Active' },
    });
  }

  /** What containers of that image do from now on; pods that run keep what they have. */
  image(name: string, handler: PodHandler): void {
    this.#images.set(name, handler);
  }

  /** Pods of that image are ready so many ms after they are made, or not before this is called again. */
  readyAfter(image: string, ms: number | 'never'): void {
    this.#kubelet.readyAfter(image, ms);
  }

  /** By name; without namespace all there are. Pods on their way out are among them. */
  pods(namespace?: string): KubeObject[] {
    return this.list(pods, namespace);
  }

  deployments(namespace?: string): KubeObject[] {
    return this.list(deployments, namespace);
  }

  services(namespace?: string): KubeObject[] {
    return this.list(services, namespace);
  }

  slices(namespace?: string): KubeObject[] {
    return this.list(endpointSlices, namespace);
  }

  secrets(namespace?: string): KubeObject[] {
    return this.list(secrets, namespace);
  }

  list(resource: Resource, namespace?: string): KubeObject[] {
    return this.#api.store.list(resource, namespace);
  }

  /** Calls back with every change from now on; returns what ends that. */
  onChange(listener: (change: Change) => void): () => void {
    return this.#api.store.onChange(listener);
  }

  /** How many requests the pod is at. */
  inFlight(pod: KubeObject): number {
    return this.#kubelet.inFlight(`${pod.metadata.namespace}/${pod.metadata.name}`);
  }

  /** Breaks off what a pod is at, and takes it out of the cluster: its Deployment makes another. */
  async killPod(name: string, namespace = 'openfaas-fn'): Promise<void> {
    await this.#kubelet.kill(namespace, name);
  }

  /** Breaks off what a pod is at and refuses connections, while the cluster still tells it as ready: a stale endpoint. */
  async vanishPod(name: string, namespace = 'openfaas-fn'): Promise<void> {
    await this.#kubelet.vanish(namespace, name);
  }

  /** A line that the pod's container writes now. */
  log(pod: string, line: string, namespace = 'openfaas-fn'): void {
    const key = `${namespace}/${pod}`;
    const lines = this.#logs.get(key) ?? [];
    this.#logs.set(key, lines);
    lines.push(`${new Date().toISOString().replace('Z', '000000Z')} ${line}`);
    this.#logged.dispatchEvent(new Event(key));
  }
  readonly #logged = new EventTarget();

  /** Forgets changes, as etcd does after five minutes: watches from before are told 410, and so are pages that were begun. */
  compact(): void {
    this.#api.compact();
  }

  /** The API server goes away, with every connection to it; pods and controllers go on. */
  async stopApi(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  /** It comes back where it was, with all that it had. */
  async startApi(): Promise<void> {
    if (this.#server) return;
    const server = createServer((request, response) => void this.#api.handle(request, response));
    // Node would break off a watch that is quiet for long.
    server.requestTimeout = 0;
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#workloads.stop();
    await this.stopApi();
    await this.#kubelet.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** What each namespace gets by itself. */
  #furnish({ resource, type, object }: Change): void {
    if (resource !== namespaces || type !== 'ADDED') return;
    const namespace = object.metadata.name;
    const metadata = (name: string) => ({
      name,
      namespace,
      uid: '',
      resourceVersion: '',
      creationTimestamp: timeNow(),
    });
    const { store } = this.#api;
    store.put(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: metadata('default') });
    const data = { 'ca.crt': 'none: the fake speaks plain HTTP' };
    store.put(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('kube-root-ca.crt'), data });
  }

  #answerLogs(pod: KubeObject, query: URLSearchParams, response: Parameters<LogHandler>[2]): void {
    const key = `${pod.metadata.namespace}/${pod.metadata.name}`;
    const timestamps = query.get('timestamps') === 'true';
    const show = (line: string): string => `${timestamps ? line : line.slice(line.indexOf(' ') + 1)}\n`;
    const sinceMs = query.has('sinceSeconds') ? Date.now() - Number(query.get('sinceSeconds')) * 1000 : 0;
    const since = query.has('sinceTime') ? Date.parse(query.get('sinceTime') ?? '') : sinceMs;
    const isWanted = (line: string): boolean => Date.parse(line.slice(0, line.indexOf(' '))) >= since;
    let sent = this.#logs.get(key)?.length ?? 0;
    const past = (this.#logs.get(key) ?? []).filter(isWanted);
    const tail = query.has('tailLines') ? Number(query.get('tailLines')) : past.length;
    response.writeHead(200, { 'content-type': 'text/plain' });
    response.write(
      past
        .slice(past.length - Math.min(tail, past.length))
        .map(show)
        .join(''),
    );
    if (query.get('follow') !== 'true') {
      response.end();
      return;
    }
    response.flushHeaders();
    const more = (): void => {
      const lines = this.#logs.get(key) ?? [];
      for (; sent < lines.length; sent++) response.write(show(lines[sent] ?? ''));
    };
    const end = this.onChange(({ resource, type, object }) => {
      if (resource === pods && type === 'DELETED' && object.metadata.uid === pod.metadata.uid) response.end();
    });
    this.#logged.addEventListener(key, more);
    response.on('close', () => {
      end();
      this.#logged.removeEventListener(key, more);
    });
  }
}
