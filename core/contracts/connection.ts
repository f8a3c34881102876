import type { Headers } from './invocation.ts';
/** How a broker is reached at this moment. */
export interface ConnectionHealth {
  readonly state: 'connected' | 'reconnecting' | 'stopped';
  /** How often it was lost and won again since the start. */
  readonly reconnects: number;
  readonly lastError?: string | undefined;
}

/** What is given to a broker, whatever its kind. */
export interface OutgoingMessage {
  /** Subject, topic, queue or stream. */
  readonly to: string;
  /** Messages with the same key keep their order, where the broker has keys. */
  readonly key?: string | undefined;
  /** Names in lower case. A CloudEvent has its attributes here as `ce-…`, which the broker's binding writes in its own way. */
  readonly headers: Headers;
  readonly body: Uint8Array;
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
  /**
   * Only where the definition has `publishes`: resolves when the broker has the message, as durably as it keeps the target;
   * rejects with `connection.unavailable` when it may not have it, and with `config.invalid` where trying again is no use.
   */
  publish?(message: OutgoingMessage): Promise<void>;
  /** Called after everything that uses it has stopped. */
  stop(deadlineMs: number): Promise<void>;
}
