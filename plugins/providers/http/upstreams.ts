import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { Balance, secondsUntil } from '../../../core/kit/upstream/balance.ts';
import type { Upstreams as UpstreamsOfAttempt } from '../../../core/kit/upstream/upstreams.ts';
import { Upstream, type UpstreamSettings } from './upstream.ts';

/** Where one function runs: chooses an upstream for each call, and tells how many there are. */
export class Upstreams implements UpstreamsOfAttempt {
  /** Set in place of the caller's headers; names are lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly #name: string;
  readonly #balance: Balance<Upstream>;
  readonly #connections: number;
  readonly #host: ProviderHost;
  #wasKnown = false;

  constructor(name: string, settings: UpstreamSettings, host: ProviderHost) {
    const { url, urls = [], headers } = settings.function;
    this.#name = name;
    this.#host = host;
    this.#connections = settings.provider.connections;
    this.headers = Object.fromEntries(Object.entries(headers).map(([key, value]) => [key.toLowerCase(), value]));
    this.#balance = new Balance(
      (url === undefined ? urls : [url]).map((each) => new Upstream(each, settings, host, () => this.#report())),
    );
  }

  start(): void {
    for (const upstream of this.#balance.places) upstream.start();
  }

  take(tried?: readonly Upstream[]): Upstream | undefined {
    return this.#balance.take(tried);
  }

  giveBack(upstream: Upstream): void {
    this.#balance.giveBack(upstream);
  }

  /** Whole seconds until one of them may be available again. */
  get retryAfterSeconds(): number {
    const looks = this.#balance.places.map(({ nextLook }) => nextLook);
    return secondsUntil(looks, this.#host.clock.monotonic());
  }

  /** Takes no more calls; resolves once those that it has have ended. */
  async close(): Promise<void> {
    await this.#balance.close();
    await this.destroy();
  }

  /** Breaks off what is in flight. */
  async destroy(): Promise<void> {
    await Promise.all(this.#balance.places.map((upstream) => upstream.destroy()));
  }

  /**
   * Before any probe has told, a caller may wait for it (`scaling`). One whose upstreams are all out is `ready` with no
   * replica: its callers are to be told at once.
   */
  #report(): void {
    if (this.#balance.isClosed) return;
    const all = this.#balance.places;
    const available = all.filter((upstream) => upstream.available).length;
    this.#wasKnown ||= available > 0 || all.some(({ isKnown }) => isKnown);
    this.#host.report({
      name: this.#name,
      state: this.#wasKnown ? 'ready' : 'scaling',
      replicas: all.length,
      availableReplicas: available,
      capacity: available * this.#connections,
      message: available === 0 ? 'none of its upstreams is ready' : undefined,
    });
  }
}
