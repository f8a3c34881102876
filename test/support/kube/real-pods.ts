import { execFileSync } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import type { ApiClient } from './api-client.ts';
import { imageOf, portOf } from './fake-kubelet.ts';
import type { KubeObject } from './fake-objects.ts';
import { isServing } from './fake-workloads.ts';
import type { Handler } from '../http-functions.ts';
import { type PodHandler, StandIns } from './stand-ins.ts';

/** kwok gives its pods addresses of this network (`k8s.sh`). */
const network = '10.1.0.0/16';
/** How long a pod that is asked to end may be at what it does. */
const graceMs = 30_000;

/** Stand-ins for the pods of one namespace of a real cluster, whose node runs nothing: a watch tells of the pods. */
export class RealPods implements AsyncDisposable {
  readonly #api: ApiClient;
  readonly #path: string;
  readonly #images: Readonly<Record<string, PodHandler>>;
  readonly #standIns = new StandIns();
  readonly #leaving = new AbortController();
  readonly #following: Promise<void>;
  /** Uids of those that have a stand-in, or had one. */
  readonly #seen = new Set<string>();

  constructor(api: ApiClient, namespace: string, images: Readonly<Record<string, PodHandler>>) {
    routeHere();
    this.#api = api;
    this.#path = `/api/v1/namespaces/${namespace}/pods`;
    this.#images = images;
    this.#following = this.#follow();
  }

  /** Breaks off what it is at, as when its node dies; returns how many requests that were. */
  async kill(name: string): Promise<number> {
    const broken = this.#standIns.inFlight(name);
    await this.#standIns.kill(name);
    await this.#api.ask('DELETE', `${this.#path}/${name}`, { gracePeriodSeconds: 0 }).catch(() => undefined); // The API is away: it stays, and refuses.
    return broken;
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
        for await (const { type, object } of this.#api.watch(
          `${this.#path}?watch=true&resourceVersion=0`,
          {},
          signal,
        )) {
          await this.#look(type, object);
        }
      } catch {
        // The API server is away, or the test is over.
        await wait(50);
      }
    }
  }

  async #look(type: string, pod: KubeObject): Promise<void> {
    const { name, uid, deletionTimestamp } = pod.metadata;
    if (type === 'DELETED' || deletionTimestamp !== undefined) {
      void this.#standIns.end(name, graceMs);
      return;
    }
    const address = pod.status?.['podIP'];
    const handler = this.#images[imageOf(pod)] ?? this.#images['*'];
    if (typeof address !== 'string' || !isServing(pod) || !handler || this.#seen.has(uid)) return;
    this.#seen.add(uid);
    await this.#start(name, address, portOf(pod), (request, response) => handler(request, response, pod));
  }

  /** A node gives an address again at once, while the stand-in of the pod before may still be ending there. */
  async #start(name: string, address: string, port: number, handler: Handler): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#standIns.start(name, address, port, handler);
      } catch (error) {
        const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
        if (!isTaken || attempt === 100) throw error;
        await wait(20);
      }
    }
  }
}

/** Makes the addresses of the pods this machine's own. */
function routeHere(): void {
  const known = execFileSync('ip', ['route', 'show', 'table', 'local', network], { encoding: 'utf8' });
  if (known === '') execFileSync('ip', ['route', 'add', 'local', network, 'dev', 'lo']);
}
