import { AsyncLocalStorage } from 'node:async_hooks';
import { AckPolicy, createInbox, DeliverPolicy, type Msg, nanos, ReplayPolicy } from 'nats';
import type { Logger } from 'pino';
import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { JournalReader } from '../../../core/contracts/journal.ts';
import type { NatsConnection } from '../../connections/nats/connection.ts';

export interface FollowOptions {
  readonly nats: NatsConnection;
  readonly stream: string;
  readonly from: number;
  readonly reader: JournalReader;
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

const heartbeatMs = 1000;
/** Nothing heard for so long, not even that there is nothing: the consumer is gone, or the way to it. */
const silenceMs = 3500;
const pauseMs = { first: 50, last: 2000 } as const;

/**
 * Reads a stream in order for ever. A push consumer without acknowledgements does it, and whenever anything about that
 * is not as it should be (it was deleted, the server restarted, a message is missing, nothing is heard) a new one goes on
 * where the last one was. The client's own ordered consumer is not used: it gives up after some kinds of loss
 * (nats.node#570, #649).
 */
export async function follow(options: FollowOptions): Promise<void> {
  const { signal, nats, stream, logger } = options;
  const reading = new Reading(options);
  let begun = await reading.begin();
  void (async () => {
    let waitMs: number = pauseMs.first;
    while (!signal.aborted) {
      const reason = await begun.ended;
      await begun.close();
      if (signal.aborted) return;
      logger.debug({ stream, reason }, 'reading the stream anew');
      const next = await reading.begin().catch((error: unknown) => {
        logger.debug({ err: error, stream }, 'the stream cannot be read now; trying again');
        return undefined;
      });
      if (next) {
        begun = next;
        waitMs = pauseMs.first;
      } else {
        if (reading.over) return;
        await Promise.race([
          sleep(waitMs * (0.5 + Math.random()), signal),
          nats.connected ? never : back(nats, signal),
        ]);
        waitMs = Math.min(waitMs * 2, pauseMs.last);
      }
    }
    await begun.close();
  })();
}

interface Begun {
  /** Resolves with why when it can go on no more. */
  readonly ended: Promise<string>;
  close(): Promise<void>;
}

class Reading {
  readonly #options: FollowOptions;
  readonly #logger: Logger;
  #next: number;
  /** Nothing will come any more; the reader was told. */
  over = false;

  constructor(options: FollowOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#next = options.from;
  }

  async begin(): Promise<Begun> {
    const { nats, stream, signal } = this.#options;
    const { client, lost } = nats;
    if (!nats.connected) throw new MillraceError('queue.unavailable', 'the broker cannot be reached');
    const manager = await nats.manager();
    await this.#checkStream();
    const inbox = createInbox();
    const ended = Promise.withResolvers<string>();
    let delivered = 0;
    let heardAt = performance.now();
    const hear = (message: Msg): void => {
      heardAt = performance.now();
      const wrong =
        message.headers?.code === 100 ? this.#hearStatus(message, delivered) : this.#hear(message, ++delivered);
      if (wrong !== undefined) ended.resolve(wrong);
    };
    // What the client calls is the connection's; what is done with an entry is its reader's.
    const callback = AsyncLocalStorage.bind((error: Error | null, message: Msg): void => {
      if (error) ended.resolve(messageOf(error));
      else if (!signal.aborted) hear(message);
    });
    const subscription = client.subscribe(inbox, { callback });
    const end = (): void => ended.resolve('the connection was lost, or nobody reads any more');
    lost.addEventListener('abort', end, { once: true });
    signal.addEventListener('abort', end, { once: true });
    const watch = setInterval(() => {
      if (performance.now() - heardAt > silenceMs) ended.resolve('nothing was heard of it');
    }, heartbeatMs).unref();
    let consumer: string | undefined;
    const close = async (): Promise<void> => {
      clearInterval(watch);
      lost.removeEventListener('abort', end);
      signal.removeEventListener('abort', end);
      subscription.unsubscribe();
      if (consumer === undefined || !nats.connected || nats.lost !== lost) return;
      // The server forgets it by itself, a little later.
      await manager.consumers.delete(stream, consumer).catch(() => {});
    };
    try {
      const { name } = await nats.while(() =>
        manager.consumers.add(stream, {
          deliver_subject: inbox,
          deliver_policy: DeliverPolicy.StartSequence,
          opt_start_seq: this.#next,
          ack_policy: AckPolicy.None,
          replay_policy: ReplayPolicy.Instant,
          flow_control: true,
          idle_heartbeat: nanos(heartbeatMs),
          inactive_threshold: nanos(30_000),
          max_deliver: 1,
          mem_storage: true,
          num_replicas: 1,
        }),
      );
      consumer = name;
      heardAt = performance.now();
      return { ended: ended.promise, close };
    } catch (error) {
      await close();
      throw error;
    }
  }

  /** A stream that is gone, or ends before what was read of it, is another one. */
  async #checkStream(): Promise<void> {
    const { nats, stream } = this.#options;
    try {
      const manager = await nats.manager();
      const { state } = await nats.while(() => manager.streams.info(stream));
      if (state.last_seq + 1 >= this.#next) return;
      this.#give(
        `the stream ${stream} ends at ${state.last_seq}, and ${this.#next - 1} was read of it: it was made anew`,
      );
    } catch (error) {
      if (nats.isApiError(error, 'streamNotFound')) this.#give(`the stream ${stream} was removed`);
      throw error;
    }
    throw new MillraceError('queue.unavailable', 'nothing will come any more');
  }

  #give(message: string): void {
    this.over = true;
    this.#options.reader.lost(new MillraceError('queue.unavailable', `${message}; the gateway must be started anew`));
  }

  #hear(message: Msg, delivered: number): string | undefined {
    const { reader, stream } = this.#options;
    // $JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERED.STREAM-SEQ.CONSUMER-SEQ.NANOSECONDS.PENDING[.RANDOM]
    const parts = (message.reply ?? '').split('.');
    const at = parts.length > 9 ? 7 : 5;
    const [position, count, time] = [Number(parts[at]), Number(parts[at + 1]), Number(parts[at + 2])];
    if (count !== delivered) return `message ${delivered} of the consumer did not come`;
    if (position < this.#next) return undefined;
    try {
      if (position > this.#next) reader.gap(position);
      this.#next = position + 1;
      reader.entry({ position, at: Math.floor(time / 1_000_000), data: message.data });
    } catch (error) {
      this.#logger.error({ err: error, stream, position }, 'an entry cannot be read');
      this.#give(`entry ${position} of the stream ${stream} cannot be read: ${messageOf(error)}`);
    }
    return undefined;
  }

  #hearStatus(message: Msg, delivered: number): string | undefined {
    const { headers } = message;
    // Flow control asks for an answer; a consumer that waits for one that was lost says so in its heartbeat.
    if (message.reply) message.respond();
    const stalled = headers?.get('Nats-Consumer-Stalled');
    if (stalled) this.#options.nats.client.publish(stalled);
    const last = headers?.get('Nats-Last-Consumer');
    return last && Number(last) !== delivered ? `message ${last} of the consumer did not come` : undefined;
  }
}

const never = new Promise<boolean>(() => {});

/** Resolves when the connection is back. */
function back(nats: NatsConnection, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (): void => {
      off();
      signal.removeEventListener('abort', done);
      resolve(true);
    };
    const off = nats.onBack(done);
    signal.addEventListener('abort', done, { once: true });
  });
}
