import { connect, Events, type JetStreamManager, type NatsConnection as Client } from 'nats';
import type { z } from 'zod';
import { sleep, within } from '../../../core/contracts/clock.ts';
import type { Connection, ConnectionHealth, OutgoingMessage } from '../../../core/contracts/connection.ts';
import type { ConnectionHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { natsConfig } from './index.ts';
import { optionsOf, refusalOf } from './options.ts';
import { publish } from './publish.ts';
import { declareStream, isApiError, type StreamWish } from './streams.ts';

const redialMs = { first: 100, last: 2000 } as const;

/** What users of a connection of kind `nats` are given. */
export interface NatsConnection extends Connection {
  /** The client library's own object. While `connected` is false it would buffer: ask before you publish. */
  readonly client: Client;
  readonly connected: boolean;
  /** Aborts when the present connection is lost; a new one once it is back. */
  readonly lost: AbortSignal;
  /** Calls `listener` each time it is back; returns what ends that. */
  onBack(listener: () => void): () => void;
  /** What `ask` resolves with; rejects at once with `connection.unavailable` while, and as soon as, the broker is away. */
  while<Result>(ask: (client: Client) => Promise<Result>): Promise<Result>;
  /** JetStream's management, without a question to the server; see `while`. */
  manager(): Promise<JetStreamManager>;
  /** Makes the stream unless it is there; rejects with `config.invalid` when what is there is not what is wished for. */
  declareStream(wish: StreamWish): Promise<void>;
  /** Whether the server answered a request with that error. */
  isApiError(error: unknown, name: Parameters<typeof isApiError>[1]): boolean;
  /** Whether the server is of that version or a later one. */
  isAtLeast(major: number, minor: number): boolean;
}

/** One connection, which the client library keeps up for ever. */
export class Nats implements NatsConnection {
  readonly #config: z.output<typeof natsConfig>;
  readonly #host: ConnectionHost;
  readonly #listeners = new Set<() => void>();
  #client: Client | undefined;
  #present = new AbortController();
  #health: ConnectionHealth = { state: 'stopped', reconnects: 0 };

  constructor(config: z.output<typeof natsConfig>, host: ConnectionHost) {
    this.#config = config;
    this.#host = host;
  }

  get client(): Client {
    if (!this.#client) throw away('it is not started');
    return this.#client;
  }

  get connected(): boolean {
    return this.#health.state === 'connected';
  }

  get lost(): AbortSignal {
    return this.#present.signal;
  }

  async start(): Promise<void> {
    const options = await optionsOf(this.#config, this.#host.baseFolder);
    const deadline = performance.now() + this.#config.connectTimeout;
    for (let pauseMs: number = redialMs.first; ; pauseMs = Math.min(pauseMs * 2, redialMs.last)) {
      try {
        this.#client = await connect({ ...options, timeout: Math.min(5000, this.#config.connectTimeout) });
        break;
      } catch (error) {
        const refusal = refusalOf(error, this.#config);
        if (refusal) throw refusal;
        const message = `no NATS server at ${[this.#config.servers].flat().join(', ')}: ${messageOf(error)}`;
        this.#health = { ...this.#health, lastError: message };
        const last = performance.now() + pauseMs >= deadline;
        if (last || !(await sleep(pauseMs, this.#host.signal))) throw away(message, error);
      }
    }
    if (this.#host.signal.aborted) {
      await this.#client.close();
      throw away('the gateway is stopping');
    }
    this.#health = { state: 'connected', reconnects: 0 };
    const { server_name: server, version } = this.#client.info ?? {};
    this.#host.logger.info({ server, version }, 'connected to NATS');
    void this.#watch(this.#client);
  }

  health(): ConnectionHealth {
    return this.#health;
  }

  onBack(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async while<Result>(ask: (client: Client) => Promise<Result>): Promise<Result> {
    const { lost } = this;
    if (!this.connected) throw away(this.#health.lastError ?? 'it is not connected');
    const { promise, reject } = Promise.withResolvers<never>();
    const onLost = (): void => reject(away('the connection was lost'));
    lost.addEventListener('abort', onLost, { once: true });
    try {
      return await Promise.race([ask(this.client), promise]);
    } finally {
      lost.removeEventListener('abort', onLost);
    }
  }

  manager(): Promise<JetStreamManager> {
    return this.client.jetstreamManager({ checkAPI: false, timeout: 5000 });
  }

  declareStream(wish: StreamWish): Promise<void> {
    return this.while(async () => declareStream(await this.manager(), wish));
  }

  async publish(message: OutgoingMessage): Promise<void> {
    try {
      await this.while((client) => publish(client, message));
    } catch (error) {
      throw error instanceof MillraceError ? error : away(`NATS did not take it: ${messageOf(error)}`, error);
    }
  }

  isApiError(error: unknown, name: Parameters<typeof isApiError>[1]): boolean {
    return isApiError(error, name);
  }

  isAtLeast(major: number, minor: number): boolean {
    const [theirs = 0, minorOfTheirs = 0] = (this.client.info?.version ?? '').split('.').map(Number);
    return theirs > major || (theirs === major && minorOfTheirs >= minor);
  }

  async stop(deadlineMs: number): Promise<void> {
    const client = this.#client;
    this.#health = { ...this.#health, state: 'stopped' };
    this.#present.abort();
    if (!client || client.isClosed()) return;
    const flushed = client.flush().catch(() => {
      // What it could not send any more was answered with an error.
    });
    await within(flushed, Math.min(deadlineMs, 1000));
    await client.close();
  }

  async #watch(client: Client): Promise<void> {
    void client.closed().then((error) => {
      this.#present.abort();
      if (this.#health.state === 'stopped') return;
      this.#health = { ...this.#health, state: 'stopped', lastError: error ? messageOf(error) : undefined };
      this.#host.fail(error ?? new Error('the NATS client closed the connection for good'));
    });
    for await (const { type, data } of client.status()) {
      if (this.#health.state === 'stopped') return;
      if (type === Events.Disconnect) {
        this.#health = { ...this.#health, state: 'reconnecting', lastError: 'the connection was lost' };
        this.#host.logger.warn({ server: data }, 'lost the connection to NATS; dialling for ever');
        this.#present.abort();
      } else if (type === Events.Reconnect) {
        const { reconnects } = this.#health;
        this.#health = { state: 'connected', reconnects: reconnects + 1 };
        this.#present = new AbortController();
        this.#host.logger.info({ server: data }, 'connected to NATS again');
        for (const listener of this.#listeners) listener();
      } else if (type === Events.Error) {
        this.#health = { ...this.#health, lastError: messageOf(data) };
        this.#host.logger.warn({ error: data }, 'NATS reports an error');
      }
    }
  }
}

function away(message: string, cause?: unknown): MillraceError {
  return new MillraceError('connection.unavailable', message, { cause, retryAfterSeconds: 1 });
}
