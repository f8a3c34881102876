import type { buildConnector, Dispatcher } from 'undici';
import type { Clock } from '../../../core/contracts/clock.ts';
import type { Place } from '../../../core/kit/upstream/balance.ts';
import { Connections } from '../../../core/kit/upstream/connections.ts';
import { Reach } from '../../../core/kit/upstream/reach.ts';
import type { Endpoint } from './endpoints.ts';

/** What all pods share. */
export interface PodSettings {
  readonly connect: buildConnector.connector;
  readonly clock: Clock;
  /** Connections to one place at most; undefined: as many as there are calls. */
  readonly connections: number | undefined;
  /** ms */
  readonly keepAlive: number;
  readonly maxHeaders: number;
  /** Those that have connections, so that somebody closes them when they are idle. */
  readonly connected: Set<Pod>;
}

/** One place where a function runs. It has nothing but its address until it is called. */
export class Pod implements Place {
  readonly basePath: string;
  readonly origin: string;
  inFlight = 0;
  /** It has left the cluster, and only ends what it has begun. */
  hasLeft = false;
  readonly #settings: PodSettings;
  readonly #onReach: (pod: Pod, error?: Error) => void;
  #isReady: boolean;
  #connections: Connections | undefined;
  #reach: Reach | undefined;
  #wasUsed = false;

  /** `onReach`: whether it can be connected to has changed; with the error when it cannot. */
  constructor({ origin, isReady }: Endpoint, settings: PodSettings, onReach: (pod: Pod, error?: Error) => void) {
    const url = new URL(origin);
    this.basePath = url.pathname;
    this.origin = url.origin;
    this.#isReady = isReady;
    this.#settings = settings;
    this.#onReach = onReach;
  }

  get available(): boolean {
    return this.#isReady && this.isReachable;
  }

  get isReachable(): boolean {
    return this.#reach?.isGiven ?? true;
  }

  /** Monotonic ms: when somebody looks whether it can be connected to again. */
  get nextLook(): number {
    return this.#reach?.nextLook ?? 0;
  }

  /** The cluster's word on whether it takes calls. One that has become ready is worth another try at once. */
  set isReady(isReady: boolean) {
    const becomes = isReady && !this.#isReady;
    this.#isReady = isReady;
    if (becomes) this.#reach?.renew();
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#connected().dispatch(options, handler);
  }

  dispatchFresh(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#connected().dispatchFresh(options, handler);
  }

  refused(error: Error): void {
    if (this.hasLeft) return;
    const { connect, clock } = this.#settings;
    const onChange = (reason?: Error): void => this.#onReach(this, reason);
    this.#reach ??= new Reach({ origin: new URL(this.origin), connect, clock, onChange });
    this.#reach.failed(error);
  }

  /** Closes its connections when nothing has gone over them since this was last asked. */
  closeIfIdle(): void {
    if (!this.#wasUsed && this.inFlight === 0) void this.#disconnect();
    this.#wasUsed = false;
  }

  /** Breaks off what is in flight. */
  async destroy(): Promise<void> {
    this.hasLeft = true;
    this.#reach?.close();
    await this.#disconnect();
  }

  #connected(): Connections {
    this.#wasUsed = true;
    if (this.#connections) return this.#connections;
    const { connect, connections, keepAlive, maxHeaders, connected } = this.#settings;
    connected.add(this);
    this.#connections = new Connections(new URL(this.origin), {
      connect,
      connections: connections ?? null,
      keepAliveTimeout: keepAlive,
      maxHeaderSize: maxHeaders,
    });
    return this.#connections;
  }

  async #disconnect(): Promise<void> {
    const connections = this.#connections;
    this.#connections = undefined;
    this.#settings.connected.delete(this);
    await connections?.destroy();
  }
}
