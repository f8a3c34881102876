import { createHash } from 'node:crypto';
import { Cluster, type Redis } from 'ioredis';
import type { z } from 'zod';
import type { Connection, ConnectionHealth, OutgoingMessage } from '../../../core/contracts/connection.ts';
import type { ConnectionHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Durability } from '../../../core/contracts/invocation.ts';
import { createClient, describeTarget, isFatal } from './client.ts';
import { probeDurability, type DurabilityNeeds } from './durability.ts';
import type { redisConnectionConfig } from './index.ts';
import { entryOf } from './publish.ts';

/** A Lua text that the server keeps under its hash. Make it once: it is recognised by identity. */
export interface RedisScript {
  readonly text: string;
}

export type RedisArgument = string | Buffer | number;
type Listener = (message: string) => void;

const hashes = new WeakMap<RedisScript, string>();

/**
 * One Redis for everything that names it: a connection for commands, and one for subscriptions that only carry hints.
 * While the server is away every call rejects at once; nothing is kept back for it.
 */
export class RedisConnection implements Connection {
  readonly #config: z.output<typeof redisConnectionConfig>;
  readonly #host: ConnectionHost;
  readonly #listeners = new Map<string, Set<Listener>>();
  #client: Redis | Cluster | undefined;
  #subscriber: Redis | Cluster | undefined;
  #connects = 0;
  #stopped = false;
  #lastError: string | undefined;

  constructor(config: z.output<typeof redisConnectionConfig>, host: ConnectionHost) {
    this.#config = config;
    this.#host = host;
  }

  /** The client library's own object. */
  get client(): Redis | Cluster {
    if (!this.#client) throw new MillraceError('connection.unavailable', `${this.#host.name} has not been started`);
    return this.#client;
  }

  async start(): Promise<void> {
    const client = createClient(this.#config, `millrace/${this.#host.name}`);
    this.#client = client;
    client.on('ready', () => {
      this.#connects++;
      this.#lastError = undefined;
      this.#host.logger.info({ reconnects: this.#connects - 1 }, 'connected to Redis');
    });
    client.on('close', () => {
      this.#lastError ??= 'the server closed the connection';
      if (!this.#stopped) this.#host.logger.warn({ error: this.#lastError }, 'the connection to Redis is lost');
    });
    try {
      await this.#connected(client);
    } catch (error) {
      client.disconnect();
      throw error;
    }
    this.#subscriber = this.#listen(client);
  }

  health(): ConnectionHealth {
    const state = this.#stopped ? 'stopped' : this.#client?.status === 'ready' ? 'connected' : 'reconnecting';
    return { state, reconnects: Math.max(0, this.#connects - 1), lastError: this.#lastError };
  }

  /**
   * Runs the script, and gives it to the server first where that has forgotten it. Bulk replies are Buffers. Rejects with
   * `connection.unavailable` when it is not known to have run.
   */
  async evaluate(script: RedisScript, keys: readonly string[], values: readonly RedisArgument[]): Promise<unknown> {
    const { client } = this;
    try {
      return await client.callBuffer('EVALSHA', hashOf(script), keys.length, ...keys, ...values);
    } catch (error) {
      if (!messageOf(error).startsWith('NOSCRIPT')) throw this.#unavailable(error);
    }
    try {
      return await client.callBuffer('EVAL', script.text, keys.length, ...keys, ...values);
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  /** Adds it to the stream of that name. */
  async publish(message: OutgoingMessage): Promise<void> {
    try {
      await this.client.callBuffer('XADD', ...entryOf(message));
    } catch (error) {
      // A key that holds something else stays what it is.
      if (messageOf(error).startsWith('WRONGTYPE')) {
        throw new MillraceError('config.invalid', `${message.to} is no stream: ${messageOf(error)}`);
      }
      throw this.#unavailable(error);
    }
  }

  /** Gives the scripts to the server beforehand: calls that have to be sent twice may overtake each other. */
  async load(scripts: readonly RedisScript[]): Promise<void> {
    const { client } = this;
    const servers = client instanceof Cluster ? client.nodes('master') : [client];
    try {
      await Promise.all(servers.flatMap((server) => scripts.map(({ text }) => server.script('LOAD', text))));
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  /** Hints that may be missed: whoever listens must also look by itself. Returns how to end it. */
  subscribe(channel: string, listener: Listener): () => void {
    const listeners = this.#listeners.get(channel) ?? new Set();
    this.#listeners.set(channel, listeners);
    listeners.add(listener);
    if (listeners.size === 1 && this.#subscriber?.status === 'ready') this.#subscribe([channel]);
    return () => {
      listeners.delete(listener);
      if (listeners.size > 0 || this.#listeners.get(channel) !== listeners) return;
      this.#listeners.delete(channel);
      if (this.#subscriber?.status !== 'ready') return;
      // Only a hint less to ignore.
      this.#subscriber.unsubscribe(channel).catch(() => {});
    };
  }

  /** How durable the server is; rejects with `config.invalid` when that is less than is asked for. */
  async durability(needs: DurabilityNeeds): Promise<Durability> {
    try {
      return await probeDurability(this.client, needs);
    } catch (error) {
      throw error instanceof MillraceError ? error : this.#unavailable(error);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#subscriber !== this.#client) this.#subscriber?.disconnect();
    this.#client?.disconnect();
  }

  /**
   * Without the client's own error, which carries the command with all of its arguments: passwords and bodies. And where
   * the connection is lost its words are about its queues, not about the server.
   */
  #unavailable(error: unknown): MillraceError {
    const isAway = this.health().state !== 'connected';
    const text = isAway ? `the server is away: ${this.#lastError ?? messageOf(error)}` : messageOf(error);
    return new MillraceError('connection.unavailable', `Redis: ${text}`);
  }

  /** A second connection, or in a cluster the one that the client keeps for it. */
  #listen(client: Redis | Cluster): Redis | Cluster {
    const isCluster = client instanceof Cluster;
    const subscriber = isCluster ? client : createClient(this.#config, `millrace/${this.#host.name}/hints`);
    subscriber.on('ready', () => this.#subscribe([...this.#listeners.keys()]));
    subscriber.on('message', (channel: string, message: string) => {
      for (const listener of this.#listeners.get(channel) ?? []) listener(message);
    });
    if (!isCluster) {
      subscriber.on('error', (error) => this.#host.logger.debug({ error: messageOf(error) }, 'no hints from Redis'));
      // It goes on trying by itself.
      subscriber.connect().catch(() => {});
    }
    return subscriber;
  }

  #subscribe(channels: readonly string[]): void {
    if (channels.length === 0) return;
    this.#subscriber?.subscribe(...channels).catch((error: unknown) => {
      // The next `ready` subscribes again; until then everybody looks by himself.
      this.#host.logger.debug({ error: messageOf(error) }, 'no hints from Redis');
    });
  }

  async #connected(client: Redis | Cluster): Promise<void> {
    const { connectTimeout } = this.#config;
    const target = describeTarget(this.#config);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      const why = this.#lastError === undefined ? '' : ` (${this.#lastError})`;
      reject(new MillraceError('connection.unavailable', `${target} did not answer in ${connectTimeout} ms${why}`));
    }, connectTimeout);
    const onAbort = (): void => reject(new MillraceError('gateway.stopping', 'stopped before Redis answered'));
    this.#host.signal.addEventListener('abort', onAbort, { once: true });
    if (this.#host.signal.aborted) onAbort();
    client.once('ready', resolve);
    client.on('error', (error: unknown) => {
      const first = this.#lastError === undefined;
      this.#lastError = causeOf(error);
      if (isFatal(error)) {
        reject(new MillraceError('config.invalid', `${target} refuses the connection: ${this.#lastError}`));
      }
      if (first) this.#host.logger.warn({ error: this.#lastError }, 'Redis cannot be reached; dialling on');
    });
    try {
      // What goes wrong is told by the events, and dialled again.
      client.connect().catch(() => {});
      await promise;
    } finally {
      clearTimeout(timer);
      this.#host.signal.removeEventListener('abort', onAbort);
    }
  }
}

function hashOf(script: RedisScript): string {
  let hash = hashes.get(script);
  if (hash === undefined) {
    hash = createHash('sha1').update(script.text).digest('hex');
    hashes.set(script, hash);
  }
  return hash;
}

/** A cluster says only that no node could be reached; what the last of them said is more. */
function causeOf(error: unknown): string {
  const { lastNodeError } = error as { lastNodeError?: unknown };
  return messageOf(lastNodeError ?? error);
}
