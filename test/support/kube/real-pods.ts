import { execFileSync } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import type { Handler } from '../http-functions.ts';
import type { ApiClient } from './api-client.ts';
import { imageOf, portOf } from './fake-kubelet.ts';
import type { KubeObject } from './fake-objects.ts';
import { isServing } from './fake-workloads.ts';
import { type PodHandler, StandIns } from './stand-ins.ts';

/** How long a pod that is asked to end may be at what it does. */
const graceMs = 30_000;
/** How long the API server may be away when one is killed. */
const deleteMs = 30_000;

/** Stand-ins for the pods of one namespace of a real cluster, whose node runs nothing: a watch tells of the pods. */
export class RealPods implements AsyncDisposable {
  readonly #api: ApiClient;
  readonly #path: string;
  readonly #images: Readonly<Record<string, PodHandler>>;
  readonly #standIns = new StandIns();
  readonly #leaving = new AbortController();
  readonly #following: Promise<void>;
  /** Those that are there and ready, and their addresses. */
  readonly #pods = new Map<string, string>();

  constructor(api: ApiClient, namespace: string, images: Readonly<Record<string, PodHandler>>) {
    this.#api = api;
    this.#path = `/api/v1/namespaces/${namespace}/pods`;
    this.#images = images;
    this.#following = this.#follow();
  }

  /** Breaks off what it is at, as when its node dies; returns how many requests that were. */
  async kill(name: string): Promise<number> {
    const broken = this.#standIns.inFlight(name);
    await this.#standIns.kill(name);
    await this.#deletePod(name);
    return broken;
  }

  /** One that stayed would be ready for ever, with nobody in it. */
  async #deletePod(name: string): Promise<void> {
    const giveUpAt = performance.now() + deleteMs;
    for (;;) {
      const answer = await this.#api
        .ask('DELETE', `${this.#path}/${name}`, { gracePeriodSeconds: 0 })
        .catch(() => undefined); // The API server is away.
      if (answer && (answer.status < 300 || answer.status === 404)) return;
      if (performance.now() > giveUpAt) throw new Error(`pod ${name} could not be deleted: ${answer?.status}`);
      await wait(100);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leaving.abort();
    await this.#following;
    await this.#standIns.killAll();
    await this.#api[Symbol.asyncDispose]();
  }

  async #follow(): Promise<void> {
    const { signal } = this.#leaving;
    while (!signal.aborted) {
      try {
        const { body } = await this.#api.get(this.#path);
        const { resourceVersion } = body['metadata'] as { resourceVersion: string };
        const there = body['items'] as unknown as KubeObject[];
        // Nobody tells of those that went while nobody listened.
        const names = new Set(there.map(({ metadata }) => metadata.name));
        for (const name of this.#pods.keys()) if (!names.has(name)) this.#end(name);
        for (const pod of there) this.#look(pod);
        const path = `${this.#path}?watch=true&resourceVersion=${resourceVersion}`;
        for await (const { type, object } of this.#api.watch(path, {}, signal)) {
          if (type === 'DELETED') this.#end(object.metadata.name);
          else this.#look(object);
        }
      } catch {
        // The API server is away, or the test is over.
        await wait(50);
      }
    }
  }

  #look(pod: KubeObject): void {
    const { name, deletionTimestamp } = pod.metadata;
    if (deletionTimestamp !== undefined) {
      this.#end(name);
      return;
    }
    const address = pod.status?.['podIP'];
    const handler = this.#images[imageOf(pod)] ?? this.#images['*'];
    if (typeof address !== 'string' || !isServing(pod) || !handler || this.#pods.has(name)) return;
    this.#pods.set(name, address);
    void this.#start(name, address, portOf(pod), (request, response) => handler(request, response, pod));
  }

  #end(name: string): void {
    this.#pods.delete(name);
    void this.#standIns.end(name, graceMs);
  }

  /** Once the pod that had the address before has let go of it. */
  async #start(name: string, address: string, port: number, handler: Handler): Promise<void> {
    routeHere(address);
    while (this.#pods.has(name) && !this.#leaving.signal.aborted) {
      try {
        await this.#standIns.start(name, address, port, handler);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
        await wait(20);
      }
    }
    if (!this.#pods.has(name)) await this.#standIns.end(name, graceMs);
  }
}

const routed = new Set<string>();

/** Makes the addresses of a pod's network (kwok's `--cidr`, a /16) this machine's own. */
function routeHere(address: string): void {
  const network = address.replace(/\.\d+\.\d+$/, '.0.0/16');
  if (routed.has(network)) return;
  routed.add(network);
  const known = execFileSync('ip', ['route', 'show', 'table', 'local', network], { encoding: 'utf8' });
  if (known === '') execFileSync('ip', ['route', 'add', 'local', network, 'dev', 'lo']);
}
