import type * as MqttLibrary from 'mqtt';
import type { IClientOptions, IClientPublishOptions, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt';
import type { Logger } from 'pino';
import { sleep, within } from '../../../core/contracts/clock.ts';
import type { ConnectionHealth } from '../../../core/contracts/connection.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';

const redialMs = { first: 100, last: 2000 } as const;
/** A connection that lasted for so long was a good one: the pauses begin anew. */
const steadyMs = 10_000;
const goodbyeMs = 1000;

/** So many that were not, in a row, are no accident. */
const suspicious = 3;
const sameName = 'another client has the same clientId, and each gateway needs one of its own';
const closed = new Error('the broker closed the connection');
/** All that version 3.1.1, and Mosquitto in both, let one know of another client with the same name. */
const closedAgain = new Error(`the broker takes the connection and closes it again and again: perhaps ${sameName}`);

/** What the library is given instead of an answer: it goes on to the next packet, and acknowledges nothing. */
const later = new Error('acknowledged later');

/** Loaded by the connection when it starts: whoever has no broker of MQTT need not install it. */
export type Library = typeof MqttLibrary;

/** A subscription as the protocol has it; `rh` (version 5): 0 all retained messages, 1 if it is new, 2 none. */
export interface MqttSubscription {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly rh: 0 | 1 | 2;
}

/** Who uses a client. Nothing of it may throw, but `prepare` may reject. */
export interface MqttListener {
  /** The broker has taken the client in, before anything that it sends. `isResumed`: it still had its session. */
  connected(isResumed: boolean): void;
  /**
   * Makes the connection ready for use. When it rejects the broker is dialled again; when that is `config.invalid` and the
   * first time, `open` rejects with it.
   */
  prepare(properties: IConnackPacket['properties']): Promise<void>;
  /**
   * A message. Whoever was given one with QoS 1 or 2 acknowledges it. A promise, never rejected: there is no room for
   * others until it resolves.
   */
  received(message: IPublishPacket): Promise<void> | undefined;
  /** The broker has forgotten a message of QoS 2: its number will mean another one. */
  released(messageId: number): void;
}

/**
 * One client of the broker, dialled for ever. The library would handle one packet at a time, acknowledge in the same
 * breath, and for QoS 2 promise to keep a message before anybody has seen it. So it is told of each message that its
 * acknowledgement failed, which makes it go on without one (`customHandleAcks`, in 5.16.0 of both versions), and
 * acknowledgements are written here. PINGRESP never waits behind a message therefore (`delivery.md` §0.4).
 */
export class MqttLink {
  readonly #library: Library;
  readonly #options: IClientOptions;
  readonly #listener: MqttListener;
  readonly #logger: Logger;
  readonly #refusalOf: (error: unknown) => MillraceError | undefined;
  readonly #stopping = new AbortController();
  #client: MqttClient | undefined;
  #keeping: Promise<void> | undefined;
  /** Set while the connection is given up because there is no room for more messages. */
  #rest: Promise<void> | undefined;
  #health: ConnectionHealth = { state: 'stopped', reconnects: 0 };

  constructor(
    library: Library,
    options: IClientOptions,
    listener: MqttListener,
    logger: Logger,
    refusalOf: (error: unknown) => MillraceError | undefined,
  ) {
    this.#library = library;
    this.#options = options;
    this.#listener = listener;
    this.#logger = logger;
    this.#refusalOf = refusalOf;
  }

  get connected(): boolean {
    return this.#health.state === 'connected';
  }

  health(): ConnectionHealth {
    return this.#health;
  }

  /**
   * Resolves once the connection is ready for the first time. Rejects with `config.invalid` when no waiting would mend it,
   * with `connection.unavailable` after `timeoutMs` or when it is stopped.
   */
  open(timeoutMs = Infinity): Promise<void> {
    const first = Promise.withResolvers<void>();
    this.#health = { ...this.#health, state: 'reconnecting' };
    this.#keeping = this.#keep(performance.now() + timeoutMs, first);
    return first.promise;
  }

  /** Rejects when the broker refuses one of them, or grants less than was asked for. */
  async subscribe(subscriptions: readonly MqttSubscription[]): Promise<void> {
    const client = this.#client;
    if (!client) throw away('it is not connected');
    if (subscriptions.length === 0) return;
    const wanted = Object.fromEntries(
      subscriptions.map(({ topic, qos, rh }) => [topic, { qos, rh, nl: false, rap: false }]),
    );
    let granted: readonly number[];
    try {
      granted = (await client.subscribeAsync(wanted)).map(({ qos }) => qos);
    } catch (error) {
      const { packet } = error as { readonly packet?: { readonly granted?: readonly number[] } };
      if (!packet?.granted) throw error;
      ({ granted } = packet);
    }
    for (const [index, { topic, qos }] of subscriptions.entries()) {
      const found = granted[index] ?? 128;
      if (found <= 2 && found >= qos) continue;
      const given = found <= 2 ? `QoS ${found} instead of ${qos}` : `nothing (${this.#textOf(found)})`;
      throw new MillraceError('config.invalid', `the broker grants ${given} for the subscription to ${topic}`);
    }
  }

  /** Resolves when the broker has confirmed it (QoS 1). Rejects at once while, and as soon as, it is away. */
  async publish(topic: string, payload: Buffer, properties: IClientPublishOptions['properties']): Promise<void> {
    const client = this.#client;
    if (!client || !this.connected) throw away('it is not connected');
    const { promise: lost, reject } = Promise.withResolvers<never>();
    const onClose = (): void => reject(away('the connection was lost'));
    client.once('close', onClose);
    try {
      await Promise.race([client.publishAsync(topic, payload, { qos: 1, ...(properties && { properties }) }), lost]);
    } finally {
      client.off('close', onClose);
    }
  }

  /** Tells the broker, in the order in which they came, that messages are safe. False if it cannot be told now. */
  acknowledge(messages: readonly IPublishPacket[]): boolean {
    const stream = this.#client?.stream;
    if (!stream || stream.destroyed || !stream.writable) return false;
    const bytes = Buffer.alloc(4 * messages.length);
    for (const [index, { qos, messageId = 0 }] of messages.entries()) {
      // PUBACK or PUBREC, two bytes long, which says success in both versions.
      bytes.writeUInt32BE((qos === 2 ? 0x50_02_00_00 : 0x40_02_00_00) + messageId, 4 * index);
    }
    stream.write(bytes);
    return true;
  }

  /** Ends the connection with a word; the session stays. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#health = { ...this.#health, state: 'stopped' };
    await this.#keeping;
  }

  async #keep(deadline: number, first: PromiseWithResolvers<void>): Promise<void> {
    const { signal } = this.#stopping;
    let isFirst = true;
    let pauseMs: number = redialMs.first;
    let shortLived = 0;
    while (!signal.aborted) {
      let readyAt = Infinity;
      const ready = (): void => {
        readyAt = performance.now();
        const { reconnects, lastError } = this.#health;
        // While it is lost again and again, the reason stays told.
        const why = shortLived < suspicious ? undefined : lastError;
        this.#health = { state: 'connected', reconnects: isFirst ? 0 : reconnects + 1, lastError: why };
        this.#logger.info({ client: this.#options.clientId, reconnects: this.#health.reconnects }, 'connected to MQTT');
        isFirst = false;
        first.resolve();
      };
      const error = await this.#connection(ready);
      if (signal.aborted) break;
      const isSteady = performance.now() - readyAt > steadyMs;
      if (isSteady) shortLived = 0;
      else if (readyAt !== Infinity && error === closed) shortLived++;
      const refusal = this.#refusalOf(error);
      this.#lost(refusal ?? (error === closed && shortLived >= suspicious ? closedAgain : error), readyAt);
      if (isFirst && (refusal || performance.now() + pauseMs >= deadline)) {
        this.#health = { ...this.#health, state: 'stopped' };
        return first.reject(refusal ?? away(messageOf(error), error));
      }
      if (isSteady) pauseMs = redialMs.first;
      await Promise.race([this.#rest, aborted(signal)]);
      this.#rest = undefined;
      await sleep(pauseMs * (0.5 + Math.random() / 2), signal);
      pauseMs = Math.min(pauseMs * 2, redialMs.last);
    }
    first.reject(away('the gateway is stopping'));
  }

  /** One connection, from its dialling to its end; resolves with what ended it. */
  async #connection(ready: () => void): Promise<unknown> {
    const client = this.#library.connect({ ...this.#options });
    const connected = Promise.withResolvers<IConnackPacket>();
    const over = Promise.withResolvers<unknown>();
    let reason: unknown;
    let isOver = false;
    // The library takes this as an option for version 5 only, and reads it here for each message.
    client.options.customHandleAcks = (_topic, _payload, message: IPublishPacket, done) => {
      // What was read of a connection that has ended comes again.
      if (isOver) return;
      const room = this.#listener.received(message);
      if (room) void this.#until(room, client, () => done(later));
      else done(later);
    };
    client.handleMessage = (message, done) => {
      if (!isOver && message.qos === 0) void this.#listener.received(message);
      done();
    };
    client.on('packetreceive', (packet) => {
      if (isOver) return;
      if (packet.cmd === 'connack' && (packet.reasonCode ?? packet.returnCode) === 0) {
        this.#client = client;
        // Without it each acknowledgement waits for that of a packet.
        if ('setNoDelay' in client.stream) (client.stream as unknown as { setNoDelay(): void }).setNoDelay();
        this.#listener.connected(packet.sessionPresent);
      } else if (packet.cmd === 'pubrel') this.#listener.released(packet.messageId ?? 0);
      else if (packet.cmd === 'disconnect') reason ??= this.#farewell(packet.reasonCode);
    });
    client.on('connect', connected.resolve);
    client.on('error', (error) => {
      if (error === later) return;
      reason ??= error;
      client.end(true);
    });
    client.on('close', () => {
      isOver = true;
      if (this.#client === client) this.#client = undefined;
      over.resolve(reason ?? closed);
    });
    const stop = (): void => void ended(client);
    this.#stopping.signal.addEventListener('abort', stop, { once: true });
    try {
      const connack = await Promise.race([connected.promise, over.promise.then((error) => Promise.reject(error))]);
      await this.#listener.prepare(connack.properties);
      if (!isOver) ready();
      return await over.promise;
    } catch (error) {
      return error;
    } finally {
      this.#stopping.signal.removeEventListener('abort', stop);
      await ended(client, 0);
    }
  }

  /** Nothing is read until there is room, PINGRESP included: before that is taken for a dead broker, it is left. */
  async #until(room: Promise<void>, client: MqttClient, next: () => void): Promise<void> {
    const timer = setTimeout(
      () => {
        this.#rest = room;
        this.#logger.warn(
          { client: this.#options.clientId },
          'too many messages are unsettled: MQTT is left until then',
        );
        void ended(client);
      },
      (this.#options.keepalive ?? 10) * 500,
    );
    await room;
    clearTimeout(timer);
    next();
  }

  #farewell(code = 0): Error {
    const hint = code === 142 ? `: ${sameName}` : '';
    return new Error(`the broker ended the connection (${this.#textOf(code)})${hint}`);
  }

  #textOf(code: number): string {
    const texts: Readonly<Record<number, string>> = this.#library.ReasonCodes;
    return texts[code] ?? `reason ${code}`;
  }

  #lost(error: unknown, readyAt: number): void {
    const lastError = messageOf(error);
    this.#health = { ...this.#health, state: 'reconnecting', lastError };
    const about = { client: this.#options.clientId, reason: lastError };
    if (readyAt !== Infinity) this.#logger.warn(about, 'lost the connection to MQTT; dialling for ever');
    else this.#logger.debug(about, 'MQTT cannot be reached; trying again');
  }
}

/** Says goodbye, if that can be said in time. */
async function ended(client: MqttClient, timeoutMs = goodbyeMs): Promise<void> {
  if (timeoutMs > 0 && client.connected) {
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    client.end();
    await within(closed, timeoutMs);
  }
  client.end(true);
  // Ended once already, the library does nothing the second time.
  client.stream.destroy();
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function away(message: string, cause?: unknown): MillraceError {
  return new MillraceError('connection.unavailable', message, { cause, retryAfterSeconds: 1 });
}
