import { listOf } from './fake-defaults.ts';
import type { Deletes } from './fake-deletes.ts';
import { type JsonObject, keyOf, type KubeObject, timeNow, textOf } from './fake-objects.ts';
import { pods } from './fake-resources.ts';
import type { Change, Store } from './fake-store.ts';
import { type PodHandler, StandIns } from './stand-ins.ts';

/** Runs the pods of a fake cluster: each gets an address, and there what its image does. */
export class Kubelet {
  readonly #store: Store;
  readonly #deletes: Deletes;
  readonly #standIns = new StandIns();
  readonly #images: ReadonlyMap<string, PodHandler>;
  /** Of an image, ms after which its pods are ready; `never` holds them back. */
  readonly #readiness = new Map<string, number | 'never'>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #addresses = addresses();
  #stopped = false;

  constructor(store: Store, deletes: Deletes, images: ReadonlyMap<string, PodHandler>) {
    this.#store = store;
    this.#deletes = deletes;
    this.#images = images;
    store.onChange((change) => this.#changed(change));
  }

  /** Pods of that image are ready so long after they are made. Those that were held back are ready at once. */
  readyAfter(image: string, ms: number | 'never'): void {
    this.#readiness.set(image, ms);
    if (ms === 'never') return;
    for (const pod of this.#store.list(pods)) {
      if (imageOf(pod) === image && pod.status?.['phase'] === 'Pending') void this.#run(pod);
    }
  }

  inFlight(pod: string): number {
    return this.#standIns.inFlight(pod);
  }

  /** Breaks off what the pod is at, as when its container or its node dies, and takes it out of the cluster. */
  async kill(namespace: string, name: string): Promise<void> {
    await this.#standIns.kill(`${namespace}/${name}`);
    if (this.#store.get(pods, `${namespace}/${name}`)) {
      this.#deletes.delete(pods, namespace, name, { dryRun: false, propagation: 'Background', gracePeriodSeconds: 0 });
    }
  }

  /** Breaks off what the pod is at, and nobody knows: its address stays in the slices. */
  async vanish(namespace: string, name: string): Promise<void> {
    await this.#standIns.kill(`${namespace}/${name}`);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#standIns.killAll();
  }

  #changed({ resource, type, object, before }: Change): void {
    if (resource !== pods || this.#stopped) return;
    const key = keyOf(object.metadata);
    if (type === 'ADDED') this.#schedule(object);
    else if (type === 'DELETED') void this.#standIns.kill(key);
    else if (object.metadata.deletionTimestamp !== undefined && before?.metadata.deletionTimestamp === undefined) {
      void this.#end(object);
    }
  }

  #schedule(pod: KubeObject): void {
    const ms = this.#readiness.get(imageOf(pod)) ?? 0;
    if (ms === 'never') return;
    this.#later(ms, () => void this.#run(pod));
  }

  async #run({ metadata }: KubeObject): Promise<void> {
    const key = keyOf(metadata);
    const alive = (): KubeObject | undefined => {
      const now = this.#store.get(pods, key);
      const good = now?.metadata.uid === metadata.uid && now.metadata.deletionTimestamp === undefined;
      return good && !this.#stopped && now.status?.['phase'] === 'Pending' ? now : undefined;
    };
    const pod = alive();
    if (!pod) return;
    const podIP = await this.#listen(key, pod);
    const now = alive();
    if (!now) {
      await this.#standIns.kill(key);
      return;
    }
    const status = runningStatus(now, podIP);
    this.#store.put(pods, { ...now, status });
  }

  /** On an address of its own. Without anything that answers for its image, nobody listens there. */
  async #listen(key: string, pod: KubeObject): Promise<string> {
    const handler = this.#images.get(imageOf(pod)) ?? this.#images.get('*');
    for (;;) {
      const { value: address } = this.#addresses.next();
      if (!handler) return address;
      try {
        await this.#standIns.start(key, address, portOf(pod), (request, response) => handler(request, response, pod));
        return address;
      } catch (error) {
        // Another cluster of this machine has it.
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      }
    }
  }

  async #end({ metadata }: KubeObject): Promise<void> {
    const { namespace, name, deletionGracePeriodSeconds: grace = 0 } = metadata;
    await this.#standIns.end(keyOf(metadata), grace * 1000);
    if (this.#store.get(pods, keyOf(metadata))?.metadata.uid === metadata.uid) {
      this.#deletes.delete(pods, namespace, name, { dryRun: false, propagation: 'Background', gracePeriodSeconds: 0 });
    }
  }

  #later(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }
}

export function imageOf({ spec }: KubeObject): string {
  const [container] = listOf(spec?.['containers']);
  return textOf(container?.['image']);
}

export function portOf({ spec }: KubeObject): number {
  const [container] = listOf(spec?.['containers']);
  const [port] = listOf(container?.['ports']);
  return Number(port?.['containerPort'] ?? 8080);
}

/** Loopback addresses from 127.64.0.0 on, beginning somewhere: clusters of other processes have theirs. */
function* addresses(): Generator<string, never> {
  const first = Math.floor(Math.random() * 2 ** 21);
  for (let index = 0; ; index++) {
    const place = (first + index) % 2 ** 22;
    const [high, middle, low] = [64 + (place >> 16), (place >> 8) & 255, place & 255];
    if (low !== 0 && low !== 255) yield `127.${high}.${middle}.${low}`;
  }
}

function runningStatus(pod: KubeObject, podIP: string): JsonObject {
  const now = timeNow();
  const conditions = ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => {
    return { type, status: 'True', lastProbeTime: null, lastTransitionTime: now };
  });
  const containerStatuses = listOf(pod.spec?.['containers']).map(({ name = '', image = '' }) => {
    return { name, image, ready: true, started: true, restartCount: 0, state: { running: { startedAt: now } } };
  });
  const address = { podIP, podIPs: [{ ip: podIP }], hostIP: '127.0.0.1' };
  return { phase: 'Running', conditions, ...address, startTime: now, containerStatuses };
}
