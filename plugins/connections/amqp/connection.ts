import type { Channel, ChannelModel, ConfirmChannel } from 'amqplib';
import { sleep, within } from '../../../core/contracts/clock.ts';
import type { Connection, ConnectionHealth, OutgoingMessage } from '../../../core/contracts/connection.ts';
import type { ConnectionHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import { type AmqpConnectionConfig, type Dial, dialler, refusalOf } from './options.ts';
import { Publisher } from './publish.ts';

const redialMs = { first: 100, last: 2000 } as const;
/** A broker that is still there answers a goodbye sooner. */
const goodbyeMs = 1000;

/** What users of a connection of kind `amqp` are given. */
export interface AmqpConnection extends Connection {
  readonly connected: boolean;
  /** The broker is short of memory or disk: it takes no message until that has passed. */
  readonly blocked: boolean;
  /** Aborts when the present connection is lost; a new one once it is back. */
  readonly lost: AbortSignal;
  /** What the broker says that it is. */
  readonly server: { readonly product: string; readonly version: string };
  /** Calls `listener` each time it is back; returns what ends that. */
  onBack(listener: () => void): () => void;
  /** Calls `listener` each time `blocked` changes; returns what ends that. */
  onBlocked(listener: () => void): () => void;
  /**
   * A channel for anything but publishing, on a connection that the broker never blocks. It is the user's own: it ends
   * with the connection, or when the broker finds fault with what it is used for, and is not opened anew.
   */
  channel(): Promise<Channel>;
  /** A channel for publishing. */
  confirmChannel(): Promise<ConfirmChannel>;
}

interface Links {
  readonly consuming: ChannelModel;
  readonly publishing: ChannelModel;
}

/**
 * Two connections to one node, so that a broker that blocks publishers does not keep acknowledgements from passing. Both
 * or none: when one is lost, the other is closed. The client's own recovery is not used, since it knows no such pair.
 */
export class Amqp implements AmqpConnection {
  readonly #config: AmqpConnectionConfig;
  readonly #host: ConnectionHost;
  readonly #urls: readonly string[];
  readonly #backListeners = new Set<() => void>();
  readonly #blockedListeners = new Set<() => void>();
  readonly #stopping = new AbortController();
  readonly #publisher = new Publisher(() => this.confirmChannel());
  #dial: Dial | undefined;
  #links: Links | undefined;
  #present = new AbortController();
  #blocked = false;
  #attempts = 0;
  #health: ConnectionHealth = { state: 'stopped', reconnects: 0 };

  constructor(config: AmqpConnectionConfig, host: ConnectionHost) {
    this.#config = config;
    this.#host = host;
    this.#urls = [config.url].flat();
  }

  get connected(): boolean {
    return this.#health.state === 'connected';
  }

  get blocked(): boolean {
    return this.#blocked;
  }

  get lost(): AbortSignal {
    return this.#present.signal;
  }

  get server(): { product: string; version: string } {
    const { product = '', version = '' } = this.#links?.consuming.connection.serverProperties ?? {};
    return { product, version };
  }

  async start(): Promise<void> {
    const { baseFolder, signal } = this.#host;
    this.#dial = await dialler(this.#config, baseFolder);
    const deadline = performance.now() + this.#config.connectTimeout;
    for (let pauseMs: number = redialMs.first; ; pauseMs = Math.min(pauseMs * 2, redialMs.last)) {
      try {
        await this.#connect();
        break;
      } catch (error) {
        const refusal = refusalOf(error, this.#config);
        if (refusal) throw refusal;
        const message = `no RabbitMQ at ${this.#urls.join(', ')}: ${messageOf(error)}`;
        this.#health = { ...this.#health, lastError: message };
        const last = performance.now() + pauseMs >= deadline;
        if (last || !(await sleep(pauseMs, signal))) throw away(message, error);
      }
    }
    if (signal.aborted) {
      await this.stop(1000);
      throw away('the gateway is stopping');
    }
    this.#host.logger.info(this.server, 'connected to RabbitMQ');
  }

  health(): ConnectionHealth {
    return this.#health;
  }

  onBack(listener: () => void): () => void {
    this.#backListeners.add(listener);
    return () => this.#backListeners.delete(listener);
  }

  onBlocked(listener: () => void): () => void {
    this.#blockedListeners.add(listener);
    return () => this.#blockedListeners.delete(listener);
  }

  channel(): Promise<Channel> {
    return this.#open(({ consuming }) => consuming.createChannel());
  }

  confirmChannel(): Promise<ConfirmChannel> {
    return this.#open(({ publishing }) => publishing.createConfirmChannel());
  }

  async publish(message: OutgoingMessage): Promise<void> {
    try {
      await this.#publisher.publish(message);
    } catch (error) {
      throw error instanceof MillraceError ? error : away(`RabbitMQ did not take it: ${messageOf(error)}`, error);
    }
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stopping.abort();
    this.#health = { ...this.#health, state: 'stopped' };
    this.#present.abort();
    const links = this.#links;
    this.#links = undefined;
    if (!links) return;
    await within(closeAll(links), Math.min(deadlineMs, 2000));
  }

  async #open<Opened extends Channel>(open: (links: Links) => Promise<Opened>): Promise<Opened> {
    const links = this.#links;
    if (!links || !this.connected) throw away(this.#health.lastError ?? 'it is not connected');
    const channel = await open(links);
    // Without a listener an error of the channel would end the process; `close` follows each one, and says it all.
    channel.on('error', () => {});
    return channel;
  }

  async #connect(): Promise<void> {
    const url = this.#urls[this.#attempts++ % this.#urls.length] ?? '';
    const dialled = this.#dial;
    if (!dialled) throw away('it is not started');
    let links: Links | undefined;
    let gone: Error | undefined;
    const dial = async (purpose: string): Promise<ChannelModel> => {
      const link = await dialled(url, purpose);
      link.on('error', (error: Error) => {
        this.#health = { ...this.#health, lastError: messageOf(error) };
      });
      link.on('close', (error?: Error) => {
        gone = error ?? new Error('the connection was closed');
        if (links) this.#lose(links, gone);
      });
      return link;
    };
    const consuming = await dial('consuming');
    const publishing = await dial('publishing').catch(async (error: unknown) => {
      await close(consuming);
      throw error;
    });
    if (gone || this.#stopping.signal.aborted) {
      await closeAll({ consuming, publishing });
      throw away('the connection was lost at once', gone);
    }
    links = { consuming, publishing };
    this.#links = links;
    publishing.on('blocked', (reason: string) => this.#setBlocked(true, reason));
    publishing.on('unblocked', () => this.#setBlocked(false));
    if (this.#health.state === 'reconnecting') this.#present = new AbortController();
    this.#health = { ...this.#health, state: 'connected' };
    this.#blocked = false;
  }

  #setBlocked(blocked: boolean, reason?: string): void {
    if (this.#blocked === blocked) return;
    this.#blocked = blocked;
    if (blocked) this.#host.logger.warn({ reason }, 'RabbitMQ takes no messages now');
    else this.#host.logger.info('RabbitMQ takes messages again');
    for (const listener of this.#blockedListeners) listener();
  }

  /** `error` and `close` come from both: only the first one counts. */
  #lose(links: Links, error: Error): void {
    if (this.#links !== links) return;
    this.#links = undefined;
    const lastError = messageOf(error);
    this.#health = { ...this.#health, state: 'reconnecting', lastError };
    this.#host.logger.warn({ reason: lastError }, 'lost the connection to RabbitMQ; dialling for ever');
    this.#present.abort();
    void closeAll(links);
    void this.#redial();
  }

  async #redial(): Promise<void> {
    const { signal } = this.#stopping;
    for (let pauseMs: number = redialMs.first; ; pauseMs = Math.min(pauseMs * 2, redialMs.last)) {
      if (!(await sleep(pauseMs * (0.5 + Math.random()), signal))) return;
      try {
        await this.#connect();
        break;
      } catch (error) {
        // Also credentials that are refused: they may be mended on the broker while this runs.
        this.#health = { ...this.#health, lastError: messageOf(error) };
        this.#host.logger.debug({ err: error }, 'RabbitMQ cannot be reached; trying again');
      }
    }
    if (signal.aborted) return;
    this.#health = { ...this.#health, reconnects: this.#health.reconnects + 1 };
    this.#host.logger.info(this.server, 'connected to RabbitMQ again');
    for (const listener of this.#backListeners) listener();
  }
}

async function closeAll({ consuming, publishing }: Links): Promise<void> {
  await Promise.all([close(consuming), close(publishing)]);
}

/** In `goodbyeMs` at the latest: the client tells nobody who waits for it that the broker died before it had answered. */
async function close(link: ChannelModel): Promise<void> {
  const closed = new Promise<void>((resolve) => link.once('close', () => resolve()));
  const said = link.close().catch(() => {
    // It is closed already.
  });
  await within(Promise.race([closed, said]), goodbyeMs);
}

function away(message: string, cause?: unknown): MillraceError {
  return new MillraceError('connection.unavailable', message, { cause, retryAfterSeconds: 1 });
}
