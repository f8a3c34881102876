import type { Logger } from 'pino';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Journal, JournalReader } from '../../../core/contracts/journal.ts';
import type { KafkaConnection } from '../../connections/kafka/connection.ts';
import type { KafkaPartition, TopicFacts } from '../../connections/kafka/driver.ts';
import { follow } from './follower.ts';
import { Place } from './place.ts';
import { RangeReader } from './range-reader.ts';

/** What a broker counts of an entry besides its bytes: the head of its batch and of its record. */
const headBytes = 200;
const largestBytes = 2 ** 20;

/** What must not wait for one another. */
interface Ways {
  readonly writing: KafkaPartition;
  readonly reading: RangeReader;
  readonly keeping: KafkaPartition;
}

/** A topic of one partition. Positions are offsets. */
export class KafkaJournal implements Journal {
  readonly origin = 0;
  readonly topic: string;
  readonly #kafka: KafkaConnection;
  readonly #logger: Logger;
  readonly #closing = new AbortController();
  #ways: Ways | undefined;
  #maxBytes = largestBytes;
  readonly #place = new Place();

  constructor(kafka: KafkaConnection, topic: string, logger: Logger) {
    this.#kafka = kafka;
    this.topic = topic;
    this.#logger = logger;
  }

  /** Before anything else, with what the topic is like. */
  open({ settings }: TopicFacts): void {
    const { driver } = this.#kafka;
    const way = (): KafkaPartition => driver.open(this.topic, 0);
    this.#maxBytes = Math.min(largestBytes, Number(settings.get('max.message.bytes') ?? largestBytes) - headBytes);
    this.#ways = { writing: way(), reading: new RangeReader(way()), keeping: way() };
  }

  close(): void {
    this.#closing.abort();
    this.#ways?.writing.close();
    this.#ways?.reading.close();
    this.#ways?.keeping.close();
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  get available(): boolean {
    return this.#kafka.connected;
  }

  async append(data: Uint8Array): Promise<number> {
    const { next } = this.#place;
    try {
      const written = await this.#ask(({ writing }) => writing.append([{ value: data }]));
      this.#place.wrote(written, data, next);
      return written.offset;
    } catch (error) {
      // The broker may have gone, and the topic with it.
      this.#place.doubtful = true;
      throw error;
    }
  }

  async follow(from: number, reader: JournalReader, signal: AbortSignal): Promise<void> {
    await follow({
      kafka: this.#kafka,
      topic: this.topic,
      from,
      reader,
      signal: AbortSignal.any([signal, this.#closing.signal]),
      logger: this.#logger,
      place: this.#place,
    });
  }

  read(position: number): Promise<Uint8Array | undefined> {
    return this.#ask(({ reading }) => reading.read(position));
  }

  bounds(): Promise<{ first: number; next: number }> {
    return this.#ask(({ keeping }) => keeping.bounds());
  }

  async trim(before: number): Promise<void> {
    await this.#ask(async ({ keeping }) => {
      // The broker refuses an offset that it has not reached.
      const { first, next } = await keeping.bounds();
      const offset = Math.min(before, next);
      if (offset > first) await keeping.deleteBefore(offset);
    });
  }

  async #ask<Result>(work: (ways: Ways) => Promise<Result>): Promise<Result> {
    try {
      if (!this.#ways) throw new Error('it is not open');
      if (!this.#kafka.connected) throw new Error(this.#kafka.health().lastError ?? 'the broker cannot be reached');
      return await work(this.#ways);
    } catch (error) {
      const message = `the topic ${this.topic} cannot be reached: ${messageOf(error)}`;
      throw new MillraceError('queue.unavailable', message, { cause: error, retryAfterSeconds: 1 });
    }
  }
}
