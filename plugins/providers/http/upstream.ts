import { buildConnector, type Dispatcher } from 'undici';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import type { Place } from '../../../core/kit/upstream/balance.ts';
import { Connections } from '../../../core/kit/upstream/connections.ts';
import { Reach } from '../../../core/kit/upstream/reach.ts';
import type { HttpFunction, HttpProviderConfig } from './config.ts';
import { Probe } from './probe.ts';

/** The bytes that `tls` names. */
export interface TlsOptions {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly servername?: string;
}

export interface UpstreamSettings {
  readonly provider: HttpProviderConfig;
  readonly function: HttpFunction;
  readonly tls: TlsOptions;
}

/** One place where a function runs: its connections, and whether it may be given calls. */
export class Upstream implements Place {
  readonly url: string;
  /** The path of the URL, to which that of a call is added. */
  readonly basePath: string;
  /** Attempts that it has been given and that have not ended. */
  inFlight = 0;
  /** It may be given calls. */
  available = false;
  readonly #reach: Reach;
  readonly #connections: Connections;
  readonly #probes: readonly Probe[];
  readonly #host: ProviderHost;
  readonly #onChange: () => void;

  constructor(url: string, settings: UpstreamSettings, host: ProviderHost, onChange: () => void) {
    const { connections, connectTimeout, keepAlive, maxHeaders } = settings.provider;
    const { health, ready } = settings.function;
    this.url = url;
    const origin = new URL(url);
    this.basePath = origin.pathname;
    this.#host = host;
    this.#onChange = onChange;
    const connect = buildConnector({ ...settings.tls, allowH2: false, timeout: connectTimeout });
    this.#connections = new Connections(origin, {
      connect,
      connections,
      keepAliveTimeout: keepAlive,
      maxHeaderSize: maxHeaders,
    });
    const { clock } = host;
    this.#reach = new Reach({ origin, connect, clock, onChange: (error) => this.#changed(error && messageOf(error)) });
    const target = { origin: origin.origin, connect, clock, onChange: () => this.#changed() };
    this.#probes = [
      ...(health ? [new Probe(health, target, true)] : []),
      ...(ready ? [new Probe(ready, target, false)] : []),
    ];
  }

  /** Its probes have said whether it is ready. */
  get isKnown(): boolean {
    return this.#probes.every(({ told }) => told);
  }

  /** Monotonic ms: when somebody looks whether it is available again. */
  get nextLook(): number {
    const waiting = this.#probes.filter(({ passing }) => !passing).map(({ next }) => next);
    return Math.max(this.#reach.nextLook, ...waiting);
  }

  start(): void {
    this.#changed();
    for (const probe of this.#probes) probe.start();
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#connections.dispatch(options, handler);
  }

  /** Over a connection that nothing has gone over before. */
  dispatchFresh(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#connections.dispatchFresh(options, handler);
  }

  /** A connection to it could not be made: it gets no calls until one can. */
  refused(error: Error): void {
    this.#reach.failed(error);
  }

  /** Breaks off what is in flight. */
  async destroy(): Promise<void> {
    this.#reach.close();
    for (const probe of this.#probes) probe.stop();
    await this.#connections.destroy();
  }

  #changed(reason = 'its probe'): void {
    const was = this.available;
    this.available = this.#reach.isGiven && this.#probes.every(({ passing }) => passing);
    const { logger } = this.#host;
    if (was && !this.available) logger.warn({ upstream: this.url, reason }, 'an upstream gets no calls any more');
    else if (!was && this.available) logger.info({ upstream: this.url }, 'an upstream gets calls');
    this.#onChange();
  }
}
