import type { Redis } from 'ioredis';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import type { Entry, Group } from './group.ts';
import { clientOfItsOwn } from './server.ts';

/** An answer that is later than the server was to wait is taken for lost, at least after so long. */
const patienceMs = 2000;

/**
 * Reads new entries, on a connection of its own: while one command waits at the server, none behind it is answered. What
 * goes wrong ends that connection, and the next call dials another one; the client library's own reconnecting would wait
 * for answers that never come (ioredis#1285).
 */
export class Reader {
  readonly #group: Group;
  readonly #redis: RedisConnection;
  #client: Redis | undefined;
  #clientId: number | undefined;
  #isWaiting = false;

  constructor(group: Group, redis: RedisConnection) {
    this.#group = group;
    this.#redis = redis;
  }

  /** At most so many of each stream, as soon as there are any; none after `blockMs`. Rejects with MillraceError only. */
  async read(keys: readonly string[], count: number, blockMs: number): Promise<readonly Entry[]> {
    const { name, consumer } = this.#group;
    let timer: NodeJS.Timeout | undefined;
    try {
      const client = this.#client ?? (await this.#dial());
      const late = Promise.withResolvers<never>();
      const mostMs = Math.max(2 * blockMs, blockMs + patienceMs);
      timer = setTimeout(() => late.reject(new Error(`no answer in ${mostMs} ms`)), mostMs);
      this.#isWaiting = true;
      const wanted = ['COUNT', count, 'BLOCK', Math.ceil(blockMs)] as const;
      const streams = [...keys, ...keys.map(() => '>')];
      const reading = client.xreadgroupBuffer('GROUP', name, consumer, ...wanted, 'STREAMS', ...streams);
      return entriesOf(await Promise.race([reading, late.promise]));
    } catch (error) {
      this.close();
      // Not as its cause: the client's error carries its command.
      throw new MillraceError('connection.unavailable', `Redis: ${messageOf(error)}`);
    } finally {
      this.#isWaiting = false;
      clearTimeout(timer);
    }
  }

  /** Ends the waiting of the call that is under way, which then answers as usual: nothing that it was given is lost. */
  async wake(): Promise<void> {
    if (!this.#isWaiting || this.#clientId === undefined) return;
    try {
      await this.#redis.client.call('CLIENT', 'UNBLOCK', String(this.#clientId));
    } catch {
      // Not allowed, or away: it ends by its own time.
    }
  }

  close(): void {
    this.#client?.disconnect();
    this.#client = undefined;
    this.#clientId = undefined;
  }

  async #dial(): Promise<Redis> {
    const client = clientOfItsOwn(this.#redis, 'reader', {
      // Its commands wait longer than others.
      socketTimeout: undefined,
      retryStrategy: () => null,
    });
    this.#client = client;
    // What goes wrong is told to whoever waits for an answer.
    client.on('error', () => {});
    await client.connect();
    // Some servers do not let it be asked; then a stop waits for the end of a read.
    this.#clientId = await client.client('ID').catch(() => undefined);
    return client;
  }
}

type Row = readonly [id: Buffer, fields: readonly Buffer[]];

function entriesOf(reply: unknown): readonly Entry[] {
  const streams = (reply ?? []) as readonly (readonly [key: Buffer, rows: readonly Row[]])[];
  return streams.flatMap(([key, rows]) =>
    rows.map(([id, fields]): Entry => ({ key: key.toString(), id: id.toString(), count: 1, fields })),
  );
}
