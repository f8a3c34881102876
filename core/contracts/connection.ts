/** How a broker is reached at this moment. */
export interface ConnectionHealth {
  readonly state: 'connected' | 'reconnecting' | 'stopped';
  /** How often it was lost and won again since the start. */
  readonly reconnects: number;
  readonly lastError?: string | undefined;
}

/**
 * A broker, dialled once and shared by every queue, store and connector that names it. It knows nothing of queues: it
 * dials, authenticates, reconnects for ever with capped, jittered pauses, and hands out the client library's own object.
 * What its client calls back (events, timers of its own) runs as the connection's code, and is blamed on it if it throws:
 * a user that hands it a handler binds that first, with `AsyncLocalStorage.bind` of `node:async_hooks`.
 * Each kind adds its own members (`plugins/connections/KIND`), whose types its users may import.
 */
export interface Connection {
  /**
   * Resolves once connected. A broker that is away is waited for until the connection's `connectTimeout`, then rejects
   * with MillraceError `connection.unavailable`; credentials or settings that no waiting will mend reject at once with
   * `config.invalid`. Either refuses the start of the gateway: what runs without its broker would promise nothing.
   * Rejects as soon as `host.signal` aborts, too. One that rejects has closed whatever it had opened. The message need
   * not name the connection, which the host does.
   */
  start(): Promise<void>;
  health(): ConnectionHealth;
  /** Called after everything that uses it has stopped. */
  stop(deadlineMs: number): Promise<void>;
}
