import type { SASLOptions } from 'kafkajs';
import Broker from 'kafkajs/src/broker/index.js';
import ConnectionPool, { type KafkajsLogger } from 'kafkajs/src/network/connectionPool.js';
import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import type { Logger } from 'pino';
import { MillraceError } from '../../../core/contracts/errors.ts';

export interface ChannelOptions {
  readonly clientId: string;
  readonly tls: ConnectionOptions | undefined;
  readonly sasl: SASLOptions | undefined;
  readonly logger: Logger;
  /** Closes all channels when it aborts, also those that are being opened. */
  readonly life: AbortSignal;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

const lookaheadMs = 60_000;

/** One authenticated socket to one broker. Once it is closed it stays so: nothing dials again behind anybody's back. */
export class Channel {
  readonly #broker: Broker;
  readonly #lost = new AbortController();
  #socket: Socket | undefined;

  private constructor({ host, port }: Address, { clientId, tls, sasl, logger, life }: ChannelOptions) {
    const onEnd = (): void => this.close('the connection has been stopped');
    life.addEventListener('abort', onEnd, { once: true });
    this.lost.addEventListener('abort', () => life.removeEventListener('abort', onEnd), { once: true });
    const log = quiet(logger);
    const connectionPool = new OneConnection({
      host,
      port,
      clientId,
      logger: log,
      // It keeps what it made for a mechanism there.
      sasl: sasl ? { ...sasl } : null,
      ssl: tls ?? null,
      // Every wait has a limit here, which ends the socket, too; its own only forget the request.
      connectionTimeout: lookaheadMs,
      requestTimeout: lookaheadMs,
      enforceRequestTimeout: false,
      socketFactory: ({ onConnect }) => {
        if (this.#socket) throw new Error('the connection was lost');
        this.#socket = tls
          ? connectTls({ ...(isIP(host) ? {} : { servername: host }), ...tls, host, port }, onConnect)
          : connectPlain({ host, port }, onConnect);
        this.#socket.setNoDelay(true);
        this.#socket.setKeepAlive(true, 30_000);
        this.#socket.once('close', () => this.close('the connection was closed'));
        return this.#socket;
      },
    });
    this.#broker = new Broker({
      connectionPool,
      logger: log,
      authenticationTimeout: lookaheadMs,
      allowAutoTopicCreation: false,
    });
  }

  /** Dials and logs in. Rejects with what kafkajs says, or with `connection.unavailable`. */
  static async open(address: Address, options: ChannelOptions, timeoutMs: number): Promise<Channel> {
    options.life.throwIfAborted();
    const channel = new Channel(address, options);
    try {
      await channel.ask((broker) => broker.connect(), timeoutMs);
      return channel;
    } catch (error) {
      channel.close('it could not be opened');
      throw error;
    }
  }

  /** Aborts when it is closed. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** What `work` resolves with. One that takes too long closes the channel: the broker hangs, or the way to it. */
  async ask<Result>(work: (broker: Broker) => Promise<Result>, timeoutMs: number): Promise<Result> {
    const { signal } = this.#lost;
    signal.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    const onLost = (): void => reject(signal.reason);
    signal.addEventListener('abort', onLost, { once: true });
    const timer = setTimeout(() => this.close(`the broker did not answer within ${timeoutMs} ms`), timeoutMs);
    try {
      return await Promise.race([work(this.#broker), promise]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onLost);
    }
  }

  /** Ends it at once; whoever waits for an answer is rejected. */
  close(reason: string): void {
    if (this.#lost.signal.aborted) return;
    this.#lost.abort(new MillraceError('connection.unavailable', reason, { retryAfterSeconds: 1 }));
    // With an error, since kafkajs does not listen for the end of a socket that ends without one.
    this.#socket?.destroy(new Error(reason));
  }
}

/** kafkajs has a second socket for fetches; here a channel is one. */
class OneConnection extends ConnectionPool {
  constructor(options: ConstructorParameters<typeof ConnectionPool>[0]) {
    super(options);
    this.pool.length = 1;
    for (const { requestQueue } of this.pool) {
      const schedule = requestQueue.scheduleCheckPendingRequests.bind(requestQueue);
      // After every answer it sets a timer of negative length, which sets itself again for ever (kafkajs#1751).
      requestQueue.scheduleCheckPendingRequests = () => {
        if (requestQueue.pending.length > 0) schedule();
      };
    }
  }

  override getConnectionByRequest(): ReturnType<ConnectionPool['getConnection']> {
    return this.getConnection();
  }
}

/** What kafkajs takes for worth an error is told to whoever asked, or tried again. */
function quiet(logger: Logger): KafkajsLogger {
  const tell = (message: string): void => logger.debug({ kafkajs: message }, 'the client reports');
  const log: KafkajsLogger = { namespace: () => log, error: tell, warn: tell, info: tell, debug: () => {} };
  return log;
}
