import { Client, type Dispatcher, Pool } from 'undici';

/** The connections to one origin: HTTP/1.1, kept alive, one call at a time on each. */
export class Connections {
  readonly #origin: string;
  readonly #options: Client.Options;
  readonly #pool: Pool;
  /** Of one call each. */
  readonly #fresh = new Set<Client>();

  constructor(origin: URL, { connections, ...options }: Pool.Options = {}) {
    // A client refuses a URL with a path, and functions have one.
    this.#origin = origin.origin;
    this.#options = {
      ...options,
      allowH2: false,
      pipelining: 1,
      // The pipeline's deadline holds until the last byte of the answer.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
    this.#pool = new Pool(this.#origin, { ...this.#options, connections: connections ?? null });
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#pool.dispatch(options, handler);
  }

  /** Over a connection that nothing has gone over before. */
  dispatchFresh(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    const client = new Client(this.#origin, this.#options);
    this.#fresh.add(client);
    client.dispatch(options, handler);
    void client.close().finally(() => this.#fresh.delete(client));
  }

  /** Breaks off what is in flight. */
  async destroy(): Promise<void> {
    await Promise.all([this.#pool, ...this.#fresh].map((each) => each.destroy()));
  }
}
