import type { z } from 'zod';
import { within } from '../../../core/contracts/clock.ts';
import type { StoreHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { PutOptions, Store, StoreRecord } from '../../../core/contracts/store.ts';
import type { RedisConnection } from '../../connections/redis/connection.ts';
import type { redisStoreConfig } from './index.ts';
import { storeScripts } from './scripts.ts';

/** Records in Redis, each operation one script by the server's clock. `now`: for tests, the time instead of that. */
export class RedisStore implements Store {
  readonly #config: z.output<typeof redisStoreConfig>;
  readonly #host: StoreHost;
  readonly #now: (() => number) | undefined;
  readonly #running = new Set<Promise<unknown>>();
  #connection: RedisConnection | undefined;

  constructor(config: z.output<typeof redisStoreConfig>, host: StoreHost, now?: () => number) {
    this.#config = config;
    this.#host = host;
    this.#now = now;
  }

  async start(): Promise<void> {
    const { allowVolatile, durability: declared } = this.#config;
    const connection = this.#host.connection<RedisConnection>();
    await connection.durability({ allowVolatile, declared });
    // All of them, so that the first calls are not sent twice, and stay in their order.
    await connection.load(Object.values(storeScripts));
    this.#connection = connection;
    await this.#run('open', []);
  }

  async get(key: string): Promise<StoreRecord | undefined> {
    const reply = (await this.#run('get', [key])) as [number, Buffer] | null;
    return reply ? { version: reply[0], value: reply[1].toString() } : undefined;
  }

  async put(key: string, value: string, { ttlMs, ifVersion }: PutOptions = {}): Promise<number | undefined> {
    if (!key.isWellFormed() || !value.isWellFormed()) {
      throw new MillraceError('request.invalid', 'keys and values of a store are well-formed Unicode text');
    }
    const ttl = ttlMs === undefined ? '' : String(Math.ceil(ttlMs));
    const version = (await this.#run('put', [key, value, ttl, String(ifVersion ?? '')])) as number;
    return version === 0 ? undefined : version;
  }

  async delete(key: string): Promise<boolean> {
    return (await this.#run('delete', [key])) === 1;
  }

  async list(prefix: string, limit: number, after?: string): Promise<string[]> {
    const keys: string[] = [];
    const isBehind = after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) >= 0;
    // No byte of UTF-8 is as high as this one.
    const end = Buffer.concat([Buffer.from(`(${prefix}`), Buffer.of(0xff)]);
    let from: Buffer = Buffer.from(isBehind ? `(${after}` : `[${prefix}`);
    while (keys.length < limit && from.length > 0) {
      const [found, next] = (await this.#run('list', [from, end, String(limit - keys.length)])) as [Buffer[], Buffer];
      keys.push(...found.map(String));
      from = next;
    }
    return keys;
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#connection = undefined;
    await within(Promise.allSettled(this.#running), deadlineMs);
  }

  async #run(name: keyof typeof storeScripts, values: readonly (string | Buffer)[]): Promise<unknown> {
    if (!this.#connection) throw new MillraceError('store.unavailable', 'the store is not open');
    const prefix = `millrace:{store:${this.#config.name ?? this.#host.name}}:`;
    const time = this.#now === undefined ? '' : String(this.#now());
    const running = this.#connection.evaluate(storeScripts[name], [prefix], [time, ...values]);
    this.#running.add(running);
    try {
      return await running;
    } catch (error) {
      throw explain(error, prefix);
    } finally {
      this.#running.delete(running);
    }
  }
}

function explain(error: unknown, prefix: string): MillraceError {
  const newer = /MILLRACEFORMAT (\d+)/.exec(messageOf(error));
  const message = newer
    ? `${prefix} in Redis has format ${newer[1]}, written by a newer release of Millrace: run that, or give this ` +
      'store another name there'
    : messageOf(error);
  return new MillraceError('store.unavailable', message, { cause: error, retryAfterSeconds: 1 });
}
