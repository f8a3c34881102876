import type { ProviderHost } from '../../../core/contracts/definition.ts';
import type { Upstreams as UpstreamsOfAttempt } from '../../../core/kit/upstream/upstreams.ts';
import { Upstream, type UpstreamSettings } from './upstream.ts';

/** Where one function runs: chooses an upstream for each call, and tells how many there are. */
export class Upstreams implements UpstreamsOfAttempt {
  /** Set in place of the caller's headers; names are lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly #name: string;
  readonly #all: readonly Upstream[];
  readonly #connections: number;
  readonly #host: ProviderHost;
  #turn = 0;
  #inFlight = 0;
  #wasKnown = false;
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(name: string, settings: UpstreamSettings, host: ProviderHost) {
    const { url, urls = [], headers } = settings.function;
    this.#name = name;
    this.#host = host;
    this.#connections = settings.provider.connections;
    this.headers = Object.fromEntries(Object.entries(headers).map(([key, value]) => [key.toLowerCase(), value]));
    this.#all = (url === undefined ? urls : [url]).map(
      (each) => new Upstream(each, settings, host, () => this.#report()),
    );
  }

  start(): void {
    for (const upstream of this.#all) upstream.start();
  }

  /**
   * The one with the fewest calls, and of several such each in turn; undefined when there is none but those `tried`.
   * `giveBack` when the call has ended.
   */
  take(tried?: readonly Upstream[]): Upstream | undefined {
    const all = this.#all;
    const { length } = all;
    let found: Upstream | undefined;
    const turn = this.#turn++ % length;
    for (let step = 0; step < length; step++) {
      const each = all[(turn + step) % length];
      if (!each?.available || tried?.includes(each)) continue;
      if (!found || each.inFlight < found.inFlight) found = each;
    }
    if (found) {
      found.inFlight++;
      this.#inFlight++;
    }
    return found;
  }

  giveBack(upstream: Upstream): void {
    upstream.inFlight--;
    if (--this.#inFlight === 0) this.#closing?.resolve();
  }

  /** Whole seconds until one of them may be available again. */
  get retryAfterSeconds(): number {
    const next = Math.min(...this.#all.map(({ nextLook }) => nextLook));
    return Math.max(1, Math.ceil((next - this.#host.clock.monotonic()) / 1000));
  }

  /** Takes no more calls; resolves once those that it has have ended. */
  async close(): Promise<void> {
    this.#closing ??= Promise.withResolvers<void>();
    if (this.#inFlight === 0) this.#closing.resolve();
    await this.#closing.promise;
    await this.destroy();
  }

  /** Breaks off what is in flight. */
  async destroy(): Promise<void> {
    await Promise.all(this.#all.map((upstream) => upstream.destroy()));
  }

  /**
   * Before any probe has told, a caller may wait for it (`scaling`). One whose upstreams are all out is `ready` with no
   * replica: its callers are to be told at once.
   */
  #report(): void {
    if (this.#closing) return;
    const available = this.#all.filter((upstream) => upstream.available).length;
    this.#wasKnown ||= available > 0 || this.#all.some(({ isKnown }) => isKnown);
    this.#host.report({
      name: this.#name,
      state: this.#wasKnown ? 'ready' : 'scaling',
      replicas: this.#all.length,
      availableReplicas: available,
      capacity: available * this.#connections,
      message: available === 0 ? 'none of its upstreams is ready' : undefined,
    });
  }
}
