import { buildConnector, type Dispatcher } from 'undici';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import { Connections } from '../../../core/kit/upstream/connections.ts';
import type { Upstream as UpstreamOfAttempt } from '../../../core/kit/upstream/upstreams.ts';
import type { HttpFunction, HttpProviderConfig } from './config.ts';
import { Probe } from './probe.ts';

/** How soon an upstream that refuses connections is looked at again, ms; after twice as long when that was in vain. */
const lookMs = { first: 100, most: 10_000 };

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
export class Upstream implements UpstreamOfAttempt {
  readonly url: string;
  /** The path of the URL, to which that of a call is added. */
  readonly basePath: string;
  /** Attempts that it has been given and that have not ended. */
  inFlight = 0;
  /** It may be given calls. */
  available = false;
  readonly #origin: URL;
  readonly #connect: buildConnector.connector;
  readonly #connections: Connections;
  readonly #probes: readonly Probe[];
  readonly #host: ProviderHost;
  readonly #onChange: () => void;
  #reachable = true;
  #looks = 0;
  #nextLook = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(url: string, settings: UpstreamSettings, host: ProviderHost, onChange: () => void) {
    const { connections, connectTimeout, keepAlive, maxHeaders } = settings.provider;
    const { health, ready } = settings.function;
    this.url = url;
    this.#origin = new URL(url);
    this.basePath = this.#origin.pathname;
    this.#host = host;
    this.#onChange = onChange;
    this.#connect = buildConnector({ ...settings.tls, allowH2: false, timeout: connectTimeout });
    this.#connections = new Connections(this.#origin, {
      connect: this.#connect,
      connections,
      keepAliveTimeout: keepAlive,
      maxHeaderSize: maxHeaders,
    });
    const { origin } = this.#origin;
    const target = { origin, connect: this.#connect, clock: host.clock, onChange: () => this.#changed() };
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
    return Math.max(this.#nextLook, ...waiting);
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
    if (this.#closed || !this.#reachable) return;
    this.#reachable = false;
    this.#lookLater();
    this.#changed(messageOf(error));
  }

  /** Breaks off what is in flight. */
  async destroy(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const probe of this.#probes) probe.stop();
    await this.#connections.destroy();
  }

  #changed(reason = 'its probe'): void {
    const was = this.available;
    this.available = this.#reachable && this.#probes.every(({ passing }) => passing);
    const { logger } = this.#host;
    if (was && !this.available) logger.warn({ upstream: this.url, reason }, 'an upstream gets no calls any more');
    else if (!was && this.available) logger.info({ upstream: this.url }, 'an upstream gets calls');
    this.#onChange();
  }

  #lookLater(): void {
    const delayMs = Math.min(lookMs.most, lookMs.first * 2 ** this.#looks++);
    this.#nextLook = this.#host.clock.monotonic() + delayMs;
    this.#timer = setTimeout(() => this.#look(), delayMs);
  }

  #look(): void {
    const { protocol, hostname, port, host } = this.#origin;
    this.#connect({ protocol, port, host, hostname: hostname.replace(/^\[|\]$/g, '') }, (error, socket) => {
      socket?.destroy();
      if (this.#closed) return;
      if (error) {
        this.#lookLater();
        return;
      }
      this.#reachable = true;
      this.#looks = 0;
      this.#nextLook = 0;
      this.#changed();
    });
  }
}
