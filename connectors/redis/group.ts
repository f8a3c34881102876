import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import type { StreamSettings } from './config.ts';
import type { Fields } from './entry.ts';
import { leaveGroup, sayOf, takeOver } from './scripts.ts';

/** An entry as this consumer was given it. */
export interface Entry {
  readonly key: string;
  readonly id: string;
  /** How often the group has given it, this time included. */
  readonly count: number;
  readonly fields: Fields;
}

/** What may be said of an entry: that it is over, that it is worked on, that another one may have it. */
type Word = 'ack' | 'keep' | 'release';

/** Whose an entry turned out to be: this consumer's, another one's, or pending with nobody. */
export type Standing = 'own' | 'lost' | 'nobody';

const standings: readonly Standing[] = ['lost', 'own', 'nobody'];
/** What a gateway finds that is not the only one of its name. */
const underOurName = 3;
/** In one call, which the server does nothing else beside. */
const most = 256;

interface TakeOver {
  readonly from: string;
  readonly most: number;
  /** Those that nobody has said anything of for so long, whoever has them. */
  readonly idleMs?: number;
  /** Those that this consumer has. */
  readonly mine?: boolean;
  /** Ids that the caller knows of. */
  readonly held: Iterable<string>;
}

/** One consumer of a group, on all of its streams. Rejects with MillraceError only. */
export class Group {
  readonly name: string;
  readonly consumer: string;
  readonly keys: readonly string[];
  readonly #settings: StreamSettings;
  readonly #redis: RedisConnection;
  readonly #logger: Logger;
  /** The last entry of each stream that is known to have been given to the group: where one that is made anew goes on. */
  readonly #reached = new Map<string, string>();

  constructor(settings: StreamSettings, consumer: string, redis: RedisConnection, logger: Logger) {
    this.#settings = settings;
    this.name = settings.group;
    this.consumer = consumer;
    this.keys = settings.keys ?? (settings.key === undefined ? [] : [settings.key]);
    this.#redis = redis;
    this.#logger = logger;
  }

  /** Makes the group unless it is there; `config.invalid` when that may not be, or is no stream. */
  async declare(): Promise<void> {
    for (const key of this.keys) await this.#declare(key);
  }

  /** As above, but makes nothing: the streams that have no such group yet. */
  async missing(): Promise<readonly string[]> {
    const missing: string[] = [];
    for (const key of this.keys) {
      if (await this.#find(key)) continue;
      if (!this.#settings.create) throw this.#absent(key);
      missing.push(key);
    }
    return missing;
  }

  /** Notes that the group has got so far. */
  reached(key: string, id: string): void {
    this.#reached.set(key, id);
  }

  /** A page of what is pending, taken over; `from` is where the next one begins, `''` after the last one. */
  async takeOver(
    key: string,
    { from, most, idleMs = -1, mine = false, held }: TakeOver,
  ): Promise<{ readonly from: string; readonly entries: readonly Entry[]; readonly deleted: readonly string[] }> {
    const values = [this.name, this.consumer, idleMs, most, mine ? 'mine' : '', from, ...held];
    const [next, entries, deleted] = (await this.#redis.evaluate(takeOver, [key], values)) as [
      Buffer,
      [id: Buffer, count: number, fields: Buffer[]][],
      Buffer[],
    ];
    return {
      from: next.toString(),
      entries: entries.map(([id, count, fields]) => ({ key, id: id.toString(), count, fields })),
      deleted: deleted.map(String),
    };
  }

  /** Says it of entries of one stream, as far as they are this consumer's; tells of each whose it is. */
  async say(word: Word, key: string, entries: readonly Pick<Entry, 'id' | 'count'>[], ms = 0): Promise<Standing[]> {
    const told: Standing[] = [];
    for (let at = 0; at < entries.length; at += most) {
      const part: (string | number)[] = [];
      for (const { id, count } of entries.slice(at, at + most)) part.push(id, count);
      try {
        const answers = await this.#redis.evaluate(sayOf, [key], [this.name, this.consumer, word, ms, ...part]);
        if ((answers as number[]).includes(underOurName)) this.#warnOfTwin();
        told.push(...(answers as number[]).map((answer) => standings[answer] ?? 'lost'));
      } catch (error) {
        // Without its group nothing is pending with anybody.
        if (!isWithoutGroup(error)) throw error;
        told.push(...Array.from({ length: part.length / 2 }, (): Standing => 'nobody'));
      }
    }
    return told;
  }

  /** Entries that the group has not been given yet; undefined where the server cannot tell (before Redis 7). */
  async lag(): Promise<number | undefined> {
    let sum = 0;
    for (const key of this.keys) {
      const lag = (await this.#find(key))?.get('lag');
      if (typeof lag !== 'number') return undefined;
      sum += lag;
    }
    return sum;
  }

  /** Takes this consumer off the groups in which nothing is pending with it, so that names do not pile up there. */
  async leave(): Promise<void> {
    for (const key of this.keys) await this.#redis.evaluate(leaveGroup, [key], [this.name, this.consumer]);
  }

  #warnOfTwin(): void {
    const { consumer } = this;
    this.#logger.warn({ consumer }, 'somebody took entries under the name of this consumer: give each gateway its own');
  }

  async #declare(key: string): Promise<void> {
    const { create, start, group } = this.#settings;
    if (!create) {
      if (await this.#find(key)) return this.#reach(key);
      throw this.#absent(key);
    }
    const isAgain = this.#reached.has(key);
    const from = start === 'new' ? await this.#now(key) : startOf(start);
    const isMade = await this.#ask(key, async (client) => {
      try {
        await client.xgroup('CREATE', key, group, from, 'MKSTREAM');
        return true;
      } catch (error) {
        if (messageOf(error).startsWith('BUSYGROUP')) return false;
        throw error;
      }
    });
    if (isMade && isAgain) {
      this.#logger.warn({ stream: key, group, from }, 'the group was gone, and has been made anew');
    }
    await this.#reach(key);
  }

  #absent(key: string): MillraceError {
    const how = `redis-cli XGROUP CREATE ${key} ${this.name} 0 MKSTREAM`;
    return new MillraceError(
      'config.invalid',
      `${key} has no group ${this.name}: make it (${how}), or set create: true`,
    );
  }

  /** That a group which was there is made anew is told, and where `new` is meant then is known. */
  async #reach(key: string): Promise<void> {
    const last = (await this.#find(key))?.get('last-delivered-id');
    this.#reached.set(key, typeof last === 'string' ? last : '0-0');
  }

  /** Where `new` begins: at the end of the stream, unless the group had got to somewhere before it was gone. */
  async #now(key: string): Promise<string> {
    const last = await this.#ask(key, async (client) => {
      try {
        return String(pairs(await client.xinfo('STREAM', key)).get('last-generated-id'));
      } catch (error) {
        if (/no such key/.test(messageOf(error))) return '0-0';
        throw error;
      }
    });
    const reached = this.#reached.get(key);
    if (reached === undefined) return last;
    // A stream that has been made anew may count from the beginning.
    return isAfter(reached, last) ? '0-0' : reached;
  }

  async #find(key: string): Promise<Map<string, unknown> | undefined> {
    const groups = await this.#ask(key, async (client) => {
      try {
        return (await client.xinfo('GROUPS', key)) as unknown[];
      } catch (error) {
        if (/no such key/.test(messageOf(error))) return [];
        throw error;
      }
    });
    return groups.map(pairs).find((group) => group.get('name') === this.name);
  }

  async #ask<Answer>(key: string, question: (client: Redis) => Promise<Answer>): Promise<Answer> {
    try {
      return await question(this.#redis.client as Redis);
    } catch (error) {
      const message = messageOf(error);
      if (message.startsWith('WRONGTYPE')) {
        throw new MillraceError('config.invalid', `${key} is no stream: give another key, or remove what is there`);
      }
      if (message.startsWith('NOPERM')) {
        throw new MillraceError(
          'config.invalid',
          `the user of the connection may not read ${key} as a group: ${message}`,
        );
      }
      // Not as its cause: the client's error carries its command.
      throw new MillraceError('connection.unavailable', `Redis: ${message}`);
    }
  }
}

/** Whether the server says that there is no such group, or no such stream (any more). */
export function isWithoutGroup(error: unknown): boolean {
  return /\b(NOGROUP|UNBLOCKED)\b/.test(messageOf(error));
}

function startOf(start: Exclude<StreamSettings['start'], 'new'>): string {
  if (start === 'all') return '0';
  if ('id' in start) return start.id;
  // After the last id that the millisecond before can have.
  return `${Math.max(0, Date.parse(start.time) - 1)}-18446744073709551615`;
}

/** Of two ids, whether the first one is the later one. */
function isAfter(one: string, other: string): boolean {
  const [ms = 0n, sequence = 0n] = one.split('-').map(BigInt);
  const [otherMs = 0n, otherSequence = 0n] = other.split('-').map(BigInt);
  return ms > otherMs || (ms === otherMs && sequence > otherSequence);
}

/** Names and values, in turn. */
function pairs(list: unknown): Map<string, unknown> {
  const items = list as unknown[];
  return new Map(items.flatMap((name, at) => (at % 2 === 0 ? [[String(name), items[at + 1]] as const] : [])));
}
