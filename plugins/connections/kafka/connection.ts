import { setMaxListeners } from 'node:events';
import type { z } from 'zod';
import { sleep } from '../../../core/contracts/clock.ts';
import type { Connection, ConnectionHealth, OutgoingMessage } from '../../../core/contracts/connection.ts';
import type { ConnectionHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import { Cluster } from './cluster.ts';
import type { KafkaDriver } from './driver.ts';
import type { kafkaConfig } from './index.ts';
import { addressesOf, hintOf, optionsOf, refusalOf } from './options.ts';
import { Publisher } from './publish.ts';

const redialMs = { first: 100, last: 2000 } as const;
/** How often it is asked whether it still answers. */
const pingMs = 1000;

/** What users of a connection of kind `kafka` are given. */
export interface KafkaConnection extends Connection {
  readonly driver: KafkaDriver;
  /** Whether any broker of the cluster answers, as far as is known. */
  readonly connected: boolean;
  /** Calls `listener` each time it is back; returns what ends that. */
  onBack(listener: () => void): () => void;
}

/** A cluster, of which one broker is kept an eye on; each partition that is opened has a socket of its own. */
export class Kafka implements KafkaConnection {
  readonly #config: z.output<typeof kafkaConfig>;
  readonly #host: ConnectionHost;
  readonly #listeners = new Set<() => void>();
  readonly #stopping = new AbortController();
  readonly #publisher = new Publisher(() => this.driver);
  #cluster: Cluster | undefined;
  #watching: Promise<void> | undefined;
  #health: ConnectionHealth = { state: 'stopped', reconnects: 0 };

  constructor(config: z.output<typeof kafkaConfig>, host: ConnectionHost) {
    this.#config = config;
    this.#host = host;
    setMaxListeners(0, this.#stopping.signal);
  }

  get driver(): KafkaDriver {
    if (!this.#cluster) throw new MillraceError('connection.unavailable', 'it is not started');
    return this.#cluster;
  }

  get connected(): boolean {
    return this.#health.state === 'connected';
  }

  async start(): Promise<void> {
    const { logger, baseFolder, signal } = this.#host;
    const life = this.#stopping.signal;
    const cluster = new Cluster(addressesOf(this.#config), await optionsOf(this.#config, baseFolder, { logger, life }));
    const onAbort = (): void => this.#stopping.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const lost = await this.#dial(cluster);
      if (life.aborted) throw new MillraceError('connection.unavailable', 'the gateway is stopping');
      this.#cluster = cluster;
      this.#health = { state: 'connected', reconnects: 0 };
      logger.info({ brokers: this.#config.brokers }, 'connected to Kafka');
      this.#watching = this.#watch(cluster, lost);
    } finally {
      // From now on it lives until it is stopped, since others have to take their leave first.
      signal.removeEventListener('abort', onAbort);
    }
  }

  health(): ConnectionHealth {
    return this.#health;
  }

  onBack(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async publish(message: OutgoingMessage): Promise<void> {
    try {
      await this.#publisher.publish(message);
    } catch (error) {
      if (error instanceof MillraceError) throw error;
      throw new MillraceError('connection.unavailable', `Kafka did not take it: ${messageOf(error)}`, { cause: error });
    }
  }

  async stop(): Promise<void> {
    this.#publisher.close();
    this.#health = { ...this.#health, state: 'stopped' };
    this.#stopping.abort();
    await this.#watching;
  }

  /** Resolves with what aborts when the broker that was found is lost. */
  async #dial(cluster: Cluster): Promise<AbortSignal> {
    const { signal } = this.#stopping;
    const deadline = performance.now() + this.#config.connectTimeout;
    for (let pauseMs: number = redialMs.first; ; pauseMs = Math.min(pauseMs * 2, redialMs.last)) {
      try {
        return await cluster.dial(Math.max(1, deadline - performance.now()));
      } catch (error) {
        if (signal.aborted) throw new MillraceError('connection.unavailable', 'the gateway is stopping');
        const refusal = refusalOf(error, this.#config);
        if (refusal) throw refusal;
        const message = `no Kafka broker at ${[this.#config.brokers].flat().join(', ')}: ${hintOf(error, this.#config)}`;
        this.#health = { ...this.#health, lastError: message };
        const last = performance.now() + pauseMs >= deadline;
        if (last || !(await sleep(pauseMs, signal))) {
          throw new MillraceError('connection.unavailable', message, { cause: error, retryAfterSeconds: 1 });
        }
      }
    }
  }

  /** Until it is stopped: waits for the loss, then dials until somebody answers. */
  async #watch(cluster: Cluster, first: AbortSignal): Promise<void> {
    const { signal } = this.#stopping;
    const { logger } = this.#host;
    let lost = first;
    while (!signal.aborted) {
      await this.#heed(cluster, lost);
      if (signal.aborted) return;
      const lastError = messageOf(lost.reason);
      this.#health = { ...this.#health, state: 'reconnecting', lastError };
      logger.warn({ reason: lastError }, 'lost the connection to Kafka; dialling for ever');
      for (let pauseMs: number = redialMs.first; ; pauseMs = Math.min(pauseMs * 2, redialMs.last)) {
        try {
          lost = await cluster.dial(Infinity);
          break;
        } catch (error) {
          if (signal.aborted) return;
          this.#health = { ...this.#health, lastError: messageOf(error) };
          if (!(await sleep(pauseMs * (0.5 + Math.random()), signal))) return;
        }
      }
      this.#health = { state: 'connected', reconnects: this.#health.reconnects + 1 };
      logger.info({ brokers: this.#config.brokers }, 'connected to Kafka again');
      for (const listener of this.#listeners) listener();
    }
  }

  /** Resolves when the connection is lost or stopped; one that hangs is lost, too. */
  async #heed(cluster: Cluster, lost: AbortSignal): Promise<void> {
    const ended = AbortSignal.any([lost, this.#stopping.signal]);
    while (await sleep(pingMs, ended)) {
      await cluster.ping().catch((error: unknown) => cluster.leave(messageOf(error)));
    }
  }
}
