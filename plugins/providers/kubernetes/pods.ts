import { Balance, secondsUntil } from '../../../core/kit/upstream/balance.ts';
import type { Upstream, Upstreams } from '../../../core/kit/upstream/upstreams.ts';
import type { Endpoint } from './endpoints.ts';
import { Pod, type PodSettings } from './pod.ts';

/** Where one function runs: its pods, as the endpoint slices have them, or the Service in front of them. */
export class Pods implements Upstreams {
  readonly headers = {};
  /** Those that take calls, as the cluster has it. */
  ready = 0;
  readonly #balance = new Balance<Pod>();
  /** By the key of their endpoint. */
  #pods = new Map<string, Pod>();
  /** They have left, and end what they have begun. */
  readonly #leaving = new Set<Pod>();
  readonly #settings: PodSettings;
  readonly #onReach: (pod: Pod, error?: Error) => void;
  /** Calls go there, instead of straight to a pod. */
  readonly #serviceUrl: string | undefined;

  constructor(settings: PodSettings, onReach: (pod: Pod, error?: Error) => void, serviceUrl?: string) {
    this.#settings = settings;
    this.#onReach = onReach;
    this.#serviceUrl = serviceUrl;
  }

  /** Those that take calls, and that the gateway can connect to. */
  get available(): number {
    const places = this.#balance.places.filter(({ available }) => available).length;
    return this.#serviceUrl === undefined || places === 0 ? places : this.ready;
  }

  /** What the cluster has now. */
  update(endpoints: readonly Endpoint[]): void {
    this.ready = endpoints.filter(({ isReady }) => isReady).length;
    const before = this.#pods;
    this.#pods = new Map();
    for (const endpoint of this.#placesOf(endpoints)) {
      const pod = before.get(endpoint.key);
      if (pod) pod.isReady = endpoint.isReady;
      this.#pods.set(endpoint.key, pod ?? new Pod(endpoint, this.#settings, this.#onReach));
      before.delete(endpoint.key);
    }
    this.#balance.places = [...this.#pods.values()];
    for (const pod of before.values()) this.#leave(pod);
  }

  take(tried?: readonly Upstream[]): Pod | undefined {
    return this.#balance.take(tried);
  }

  giveBack(pod: Pod): void {
    this.#balance.giveBack(pod);
    if (pod.hasLeft && pod.inFlight === 0) {
      this.#leaving.delete(pod);
      void pod.destroy();
    }
  }

  get retryAfterSeconds(): number {
    const looks = this.#balance.places.map(({ nextLook }) => nextLook);
    return secondsUntil(looks, this.#settings.clock.monotonic());
  }

  /** Takes no more calls; resolves once those that it has have ended. */
  async close(): Promise<void> {
    await this.#balance.close();
    await this.destroy();
  }

  /** Breaks off what is in flight. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#pods.values(), ...this.#leaving].map((pod) => pod.destroy()));
  }

  #placesOf(endpoints: readonly Endpoint[]): readonly Endpoint[] {
    const origin = this.#serviceUrl;
    return origin === undefined ? endpoints : [{ key: origin, origin, isReady: this.ready > 0 }];
  }

  #leave(pod: Pod): void {
    pod.hasLeft = true;
    if (pod.inFlight === 0) void pod.destroy();
    else this.#leaving.add(pod);
  }
}
