import type { Logger } from 'pino';
import type { Connection, ConnectionHealth, OutgoingMessage } from '../../../core/contracts/connection.ts';
import type { ConnectionHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { IClientOptions, IPublishPacket } from 'mqtt';
import { type Library, MqttLink, type MqttListener } from './link.ts';
import { clientIdOf, type MqttConnectionConfig, optionsOf, refusalOf, sessionOf } from './options.ts';
import { propertiesOf, requireStructured } from './publish.ts';
import { bufferOf } from '../../../core/kit/body.ts';

/** Mosquitto and those that took its names: how many messages it has dropped since its start, because a queue was full. */
const droppedTopic = '$SYS/broker/publish/messages/dropped';

/** What users of a connection of kind `mqtt` are given. */
export interface MqttConnection extends Connection {
  readonly version: MqttConnectionConfig['version'];
  readonly session: MqttConnectionConfig['session'];
  /** A client of the user's own, not opened yet; `receiveMaximum`: at most so many messages are unacknowledged. */
  client(name: string, receiveMaximum: number, listener: MqttListener, logger: Logger): MqttLink;
}

/**
 * A broker of MQTT. A session, with its subscriptions and what waits for them, belongs to the name of one client, so that
 * connectors cannot share one: each would be given the messages of the others, and end their session with its own. What
 * they share is the description of the broker, from which each opens a client whose name is `clientId` and its own. The
 * connection itself is one more client, without a session: by it the start knows that the broker can be had, and `$SYS` is
 * watched, where the broker says that it has dropped messages.
 */
export class Mqtt implements MqttConnection {
  readonly #config: MqttConnectionConfig;
  readonly #host: ConnectionHost;
  readonly #clientId: string;
  readonly #dropped;
  #options: IClientOptions = {};
  #library: Library | undefined;
  #link: MqttLink | undefined;
  #lastDropped = 0;

  constructor(config: MqttConnectionConfig, host: ConnectionHost) {
    this.#config = config;
    this.#host = host;
    this.#clientId = clientIdOf(config);
    this.#dropped = host.metrics.gauge(
      'broker_dropped',
      'Messages that the broker says it has dropped since its start.',
    );
  }

  get version(): MqttConnectionConfig['version'] {
    return this.#config.version;
  }

  get session(): MqttConnectionConfig['session'] {
    return this.#config.session;
  }

  async start(): Promise<void> {
    const { logger, signal, baseFolder } = this.#host;
    this.#options = await optionsOf(this.#config, baseFolder);
    this.#library = await import('mqtt');
    const options = { ...this.#options, clientId: this.#clientId, clean: true };
    const link = this.#linkOf(
      options,
      this.#watching(() => link),
      logger,
    );
    this.#link = link;
    const stop = (): void => void link.stop();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      await link.open(this.#config.connectTimeout);
    } catch (error) {
      await link.stop();
      if (error instanceof MillraceError && error.code === 'config.invalid') throw error;
      const message = `no MQTT broker at ${this.#config.url}: ${messageOf(error)}`;
      throw new MillraceError('connection.unavailable', message, { cause: error, retryAfterSeconds: 1 });
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  health(): ConnectionHealth {
    return this.#link?.health() ?? { state: 'stopped', reconnects: 0 };
  }

  client(name: string, receiveMaximum: number, listener: MqttListener, logger: Logger): MqttLink {
    const clientId = `${this.#clientId}-${name}`;
    const options = { ...this.#options, ...sessionOf(this.#config, receiveMaximum), clientId };
    return this.#linkOf(options, listener, logger);
  }

  async publish(message: OutgoingMessage): Promise<void> {
    const isFive = this.version === 5;
    if (!isFive) requireStructured(message);
    const { to, headers, body } = message;
    const payload = bufferOf(body);
    try {
      if (!this.#link) throw new Error('it is not started');
      await this.#link.publish(to, payload, isFive ? propertiesOf(headers) : undefined);
    } catch (error) {
      if (error instanceof MillraceError) throw error;
      const text = `the broker did not take it: ${messageOf(error)}`;
      throw new MillraceError('connection.unavailable', text, { cause: error, retryAfterSeconds: 1 });
    }
  }

  async stop(): Promise<void> {
    await this.#link?.stop();
  }

  readonly #refusalOf = (error: unknown): MillraceError | undefined => refusalOf(error, this.#config);

  #linkOf(options: IClientOptions, listener: MqttListener, logger: Logger): MqttLink {
    if (!this.#library) throw new MillraceError('connection.unavailable', 'it is not started');
    return new MqttLink(this.#library, options, listener, logger, this.#refusalOf);
  }

  #watching(link: () => MqttLink): MqttListener {
    return {
      connected: () => undefined,
      prepare: async () => {
        try {
          await link().subscribe([{ topic: droppedTopic, qos: 0, rh: 0 }]);
        } catch (error) {
          // Many brokers have no such topic, or let only their operators read it.
          this.#host.logger.debug({ err: error }, 'the broker does not tell whether it drops messages');
        }
      },
      received: (message) => this.#read(message),
      released: () => undefined,
    };
  }

  #read({ payload }: IPublishPacket): undefined {
    const dropped = Number(payload.toString());
    if (!Number.isSafeInteger(dropped)) return;
    this.#dropped.set(dropped);
    if (dropped > this.#lastDropped) {
      this.#host.logger.warn(
        { dropped, since: dropped - this.#lastDropped },
        'the broker has dropped messages that it had confirmed: raise its limits (max_queued_messages in Mosquitto)',
      );
    }
    this.#lastDropped = dropped;
  }
}
