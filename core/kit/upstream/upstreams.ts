import type { Dispatcher } from 'undici';

/** One place where a function runs, as an attempt needs it. */
export interface Upstream {
  /** The path of its URL, to which that of a call is added. */
  readonly basePath: string;
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void;
  /** Over a connection that nothing has gone over before. */
  dispatchFresh(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void;
  /** A connection to it could not be made. */
  refused(error: Error): void;
}

/** Where one function runs. */
export interface Upstreams {
  /** Set in place of the caller's headers; names are lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Whole seconds until one of them may be available again. */
  readonly retryAfterSeconds: number;
  /** One that is available, and that is none of those `tried`; undefined when there is none. */
  take(tried?: readonly Upstream[]): Upstream | undefined;
  /** The attempt that took it has ended. */
  giveBack(upstream: Upstream): void;
}
