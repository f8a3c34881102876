import { AsyncLocalStorage } from 'node:async_hooks';
import {
  AckPolicy,
  createInbox,
  DeliverPolicy,
  DiscardPolicy,
  headers as newHeaders,
  type Msg,
  type MsgHdrs,
  nanos,
  ReplayPolicy,
  RetentionPolicy,
  StorageType,
} from 'nats';
import type { StoreHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { PutOptions, Store, StoreRecord } from '../../../core/contracts/store.ts';
import type { NatsConnection } from '../../connections/nats/connection.ts';
import type { StreamWish } from '../../connections/nats/streams.ts';
import { filterOf, keyOf, tokensOf } from './keys.ts';

/** Wall clock, ms, after which the record is none. Our own, since servers before 2.11 know no lifetime of a message. */
const expiresHeader = 'Millrace-Expires';
/** As other users of a bucket have it. */
const operationHeader = 'KV-Operation';
/** Wall clock, ms: when it was deleted. */
const deletedHeader = 'Millrace-Deleted';
/**
 * What has expired or was deleted stays on the server for so long after that. A server that dies forgets what it had
 * removed a moment before (2.15 at least), and what a key had before its last word would come to life again.
 */
const graceMs = 600_000;
const sweepMs = 600_000;
const timeoutMs = 5000;

/** What is the newest of a key, whatever it says. */
interface Found {
  readonly sequence: number;
  /** Undefined when it was deleted or has expired. */
  readonly value: string | undefined;
}

/**
 * A bucket: one stream, one subject a key, the last message of each. Versions are sequences of the stream, so that none
 * is used twice. Lists look at the headers of all keys that begin with the same parts (between slashes).
 */
export class NatsKvStore implements Store {
  readonly #stream: string;
  readonly #prefix: string;
  readonly #wish: StreamWish;
  readonly #host: StoreHost;
  readonly #nats: NatsConnection;
  /** What was asked last of each key: the next waits for it. */
  readonly #turns = new Map<string, Promise<unknown>>();
  #open = false;
  #sweeping: NodeJS.Timeout | undefined;
  #removes = false;

  constructor(
    { bucket, replicas }: { readonly bucket: string; readonly replicas: number },
    host: StoreHost,
    nats: NatsConnection,
  ) {
    this.#host = host;
    this.#nats = nats;
    this.#stream = `KV_${bucket}`;
    this.#prefix = `$KV.${bucket}.`;
    this.#wish = {
      name: this.#stream,
      subjects: [`${this.#prefix}>`],
      storage: StorageType.File,
      num_replicas: replicas,
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.New,
      max_msgs_per_subject: 1,
      max_age: 0,
      max_msgs: -1,
      max_msg_size: -1,
      allow_rollup_hdrs: true,
      allow_direct: true,
    };
  }

  async start(): Promise<void> {
    const removes = this.#nats.isAtLeast(2, 11);
    await this.#nats.declareStream({ ...this.#wish, ...(removes && { allow_msg_ttl: true }) });
    const manager = await this.#nats.manager();
    const { config } = await this.#ask(() => manager.streams.info(this.#stream));
    this.#removes = removes && (config as { readonly allow_msg_ttl?: boolean }).allow_msg_ttl === true;
    this.#open = true;
    this.#sweeping = setInterval(() => {
      this.#list('').catch((error: unknown) => {
        this.#host.logger.debug({ err: error }, 'what has expired was not removed; trying again later');
      });
    }, sweepMs).unref();
  }

  async get(key: string): Promise<StoreRecord | undefined> {
    const found = await this.#turn(key, () => this.#find(key));
    return found?.value === undefined ? undefined : { value: found.value, version: found.sequence };
  }

  async put(key: string, value: string, { ttlMs, ifVersion }: PutOptions = {}): Promise<number | undefined> {
    if (!key.isWellFormed() || !value.isWellFormed()) {
      throw new MillraceError('request.invalid', 'keys and values of a store are well-formed Unicode text');
    }
    return this.#turn(key, async () => {
      for (;;) {
        const found = ifVersion === undefined ? undefined : await this.#find(key);
        const present = found?.value === undefined ? 0 : found.sequence;
        if (ifVersion !== undefined && ifVersion !== present) return undefined;
        const expected = ifVersion === undefined ? undefined : (found?.sequence ?? 0);
        const version = await this.#write(key, value, this.#lifetime(ttlMs), expected);
        // Somebody was quicker, or the server removed what had expired: look again.
        if (version !== undefined) return version;
      }
    });
  }

  async delete(key: string): Promise<boolean> {
    return this.#turn(key, async () => {
      for (;;) {
        const found = await this.#find(key);
        if (found?.value === undefined) return false;
        const headers = newHeaders();
        headers.set(operationHeader, 'DEL');
        headers.set(deletedHeader, String(this.#host.clock.now()));
        if ((await this.#write(key, '', headers, found.sequence)) !== undefined) return true;
      }
    });
  }

  async list(prefix: string, limit: number, after?: string): Promise<string[]> {
    const from = after === undefined ? undefined : Buffer.from(after);
    return (await this.#list(prefix))
      .map((key) => Buffer.from(key))
      .filter((key) => from === undefined || Buffer.compare(key, from) > 0)
      .sort((one, other) => Buffer.compare(one, other)) // By bytes, as databases order text.
      .slice(0, limit)
      .map((key) => key.toString());
  }

  async stop(): Promise<void> {
    this.#open = false;
    clearInterval(this.#sweeping);
    await Promise.allSettled(this.#turns.values());
  }

  #lifetime(ttlMs: number | undefined): MsgHdrs {
    const headers = newHeaders();
    if (ttlMs === undefined) return headers;
    headers.set(expiresHeader, String(Math.ceil(this.#host.clock.now() + ttlMs)));
    if (this.#removes) headers.set('Nats-TTL', `${Math.ceil((ttlMs + graceMs) / 1000)}s`);
    return headers;
  }

  async #find(key: string): Promise<Found | undefined> {
    const manager = await this.#nats.manager();
    return this.#ask(async () => {
      try {
        // Asked of the leader: a replica may not know yet what was just written.
        const last = await manager.streams.getMessage(this.#stream, { last_by_subj: this.#prefix + tokensOf(key) });
        const value = this.#isLive(last.header) ? Buffer.from(last.data).toString() : undefined;
        return { sequence: last.seq, value };
      } catch (error) {
        if (this.#nats.isApiError(error, 'messageNotFound')) return undefined;
        throw error;
      }
    });
  }

  /** Undefined when `expected` was not the sequence of the last message of the key. */
  async #write(
    key: string,
    value: string,
    headers: MsgHdrs,
    expected: number | undefined,
  ): Promise<number | undefined> {
    const expect = expected === undefined ? {} : { expect: { lastSubjectSequence: expected } };
    return this.#ask(async (client) => {
      try {
        const jetstream = client.jetstream({ timeout: timeoutMs });
        const { seq } = await jetstream.publish(this.#prefix + tokensOf(key), value, { headers, ...expect });
        return seq;
      } catch (error) {
        if (this.#nats.isApiError(error, 'wrongLast')) return undefined;
        throw error;
      }
    });
  }

  /** Takes out what the subject had up to that sequence; what came later stays. */
  async #remove(subject: string, sequence: number): Promise<void> {
    const manager = await this.#nats.manager();
    await this.#ask(() => manager.streams.purge(this.#stream, { filter: subject, seq: sequence + 1 }));
  }

  #isLive(headers: MsgHdrs | undefined): boolean {
    if (headers?.has(operationHeader)) return false;
    const expires = headers?.get(expiresHeader);
    return !expires || Number(expires) > this.#host.clock.now();
  }

  /** Nobody has to know of it any more. */
  #isOver(headers: MsgHdrs | undefined): boolean {
    const since = headers?.get(deletedHeader) || headers?.get(expiresHeader);
    return !since || Number(since) + graceMs <= this.#host.clock.now();
  }

  /** The live keys that begin so, in no order; what is over is removed by the way. */
  async #list(prefix: string): Promise<string[]> {
    if (!this.#open) throw closed();
    const keys: string[] = [];
    for (const { subject, headers, sequence } of await this.#heads(`${this.#prefix}${filterOf(prefix)}`)) {
      const key = keyOf(subject.slice(this.#prefix.length));
      if (this.#isLive(headers)) {
        if (key.startsWith(prefix)) keys.push(key);
      } else if (this.#isOver(headers)) {
        await this.#remove(subject, sequence);
      }
    }
    return keys;
  }

  /** The headers of the last message of each subject. */
  async #heads(filter: string): Promise<{ subject: string; headers: MsgHdrs | undefined; sequence: number }[]> {
    const manager = await this.#nats.manager();
    return this.#ask(async (client) => {
      const inbox = createInbox();
      const heads: { subject: string; headers: MsgHdrs | undefined; sequence: number }[] = [];
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      let expected = Infinity;
      let heardAt = performance.now();
      const callback = AsyncLocalStorage.bind((error: Error | null, message: Msg): void => {
        heardAt = performance.now();
        if (error) return reject(error);
        if (message.headers?.code === 100) {
          if (message.reply) message.respond();
          return;
        }
        const parts = (message.reply ?? '').split('.');
        const sequence = Number(parts[parts.length > 9 ? 7 : 5]);
        heads.push({ subject: message.subject, headers: message.headers, sequence });
        if (heads.length >= expected) resolve();
      });
      const subscription = client.subscribe(inbox, { callback });
      const watch = setInterval(() => {
        if (performance.now() - heardAt > timeoutMs) reject(new Error('the list broke off'));
      }, 1000);
      try {
        const consumer = await manager.consumers.add(this.#stream, {
          deliver_subject: inbox,
          deliver_policy: DeliverPolicy.LastPerSubject,
          filter_subject: filter,
          headers_only: true,
          ack_policy: AckPolicy.None,
          replay_policy: ReplayPolicy.Instant,
          flow_control: true,
          idle_heartbeat: nanos(1000),
          inactive_threshold: nanos(10_000),
          mem_storage: true,
          num_replicas: 1,
        });
        // As many as there were; some of them may be here already.
        expected = consumer.num_pending + consumer.delivered.consumer_seq;
        if (heads.length >= expected) resolve();
        await promise;
        await manager.consumers.delete(this.#stream, consumer.name);
      } finally {
        clearInterval(watch);
        subscription.unsubscribe();
      }
      return heads;
    });
  }

  /** After what was asked of that key before. */
  async #turn<Result>(key: string, run: () => Promise<Result>): Promise<Result> {
    if (!this.#open) throw closed();
    const before = this.#turns.get(key);
    const mine = (async () => {
      await before?.catch(() => {
        // Whoever asked for that was told.
      });
      return run();
    })();
    this.#turns.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#turns.get(key) === mine) this.#turns.delete(key);
    }
  }

  async #ask<Result>(ask: (client: NatsConnection['client']) => Promise<Result>): Promise<Result> {
    try {
      return await this.#nats.while(ask);
    } catch (error) {
      const message = `the bucket ${this.#stream} cannot be reached: ${messageOf(error)}`;
      throw new MillraceError('store.unavailable', message, { cause: error, retryAfterSeconds: 1 });
    }
  }
}

function closed(): MillraceError {
  return new MillraceError('store.unavailable', 'the store is not open');
}
