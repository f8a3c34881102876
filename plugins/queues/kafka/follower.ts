import { AsyncLocalStorage } from 'node:async_hooks';
import { setMaxListeners } from 'node:events';
import type { Logger } from 'pino';
import { sleep, sleepUnless } from '../../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { JournalReader } from '../../../core/contracts/journal.ts';
import type { KafkaConnection } from '../../connections/kafka/connection.ts';
import type { KafkaPartition, KafkaRecord } from '../../connections/kafka/driver.ts';
import type { Place } from './place.ts';

export interface FollowOptions {
  readonly kafka: KafkaConnection;
  readonly topic: string;
  readonly from: number;
  readonly reader: JournalReader;
  readonly signal: AbortSignal;
  readonly logger: Logger;
  readonly place: Place;
}

const pauseMs = { first: 50, last: 2000 } as const;
const fetching = { maxBytes: 2 ** 20, waitMs: 1000 } as const;
/** A topic that is not known for so long, while brokers answer, was removed. A broker that has just started may not know yet. */
const removedMs = 15_000;

/** Reads a topic in order for ever, without a consumer group: whatever goes wrong, it goes on where it was. */
export async function follow(options: FollowOptions): Promise<void> {
  const { kafka, topic, place, signal } = options;
  setMaxListeners(0, signal);
  const partition = kafka.driver.open(topic, 0);
  const close = (): void => partition.close();
  signal.addEventListener('abort', close, { once: true });
  const reading = new Reading(options, partition);
  try {
    signal.throwIfAborted();
    await reading.begin();
  } catch (error) {
    close();
    const message = `the topic ${topic} cannot be read: ${messageOf(error)}`;
    throw new MillraceError('queue.unavailable', message, { cause: error, retryAfterSeconds: 1 });
  }
  // Whoever appends is not whose code an entry runs.
  const forget = place.listen(AsyncLocalStorage.bind((record: KafkaRecord) => reading.own(record)));
  void reading.run().finally(() => {
    forget();
    signal.removeEventListener('abort', close);
    close();
  });
}

class Reading {
  readonly #options: FollowOptions;
  readonly #partition: KafkaPartition;
  #next: number;
  /** The last entry that was read: if it is another one later, so is the topic. */
  #last: KafkaRecord | undefined;
  #unknownSince: number | undefined;
  /** It is the topic that was read, as far as is known, and goes on at `#next`. */
  #sure = true;
  #over = false;

  constructor(options: FollowOptions, partition: KafkaPartition) {
    this.#options = options;
    this.#partition = partition;
    this.#next = options.from;
    options.place.next = options.from;
  }

  /** Resolves when the broker has been asked once. */
  async begin(): Promise<void> {
    await this.#partition.bounds();
  }

  /** An entry of this gateway was taken: where nothing before it is still to be read, it need not be asked for. */
  own(record: KafkaRecord): void {
    if (record.offset === this.#next && this.#sure && this.#isOn) this.#hand(record);
  }

  async run(): Promise<void> {
    const { signal, topic, logger } = this.#options;
    let waitMs: number = pauseMs.first;
    while (!signal.aborted && !this.#over) {
      try {
        await this.#step();
        waitMs = pauseMs.first;
      } catch (error) {
        if (signal.aborted) return;
        logger.debug({ err: error, topic }, 'the topic cannot be read now; trying again');
        this.#options.place.doubtful = true;
        this.#heed(error);
        await this.#wait(waitMs * (0.5 + Math.random()));
        waitMs = Math.min(waitMs * 2, pauseMs.last);
      }
    }
  }

  async #step(): Promise<void> {
    await this.#rest();
    if (this.#options.place.doubtful) await this.#makeSure(() => this.#recognise());
    if (!this.#isOn) return;
    const fetched = await this.#fetch(this.#next, fetching.waitMs);
    this.#unknownSince = undefined;
    if (!fetched) return this.#makeSure(() => this.#outOfRange());
    for (const record of fetched) {
      if (!this.#isOn) return;
      // What is ours may have been handed out meanwhile.
      if (record.offset >= this.#next) this.#hand(record);
    }
  }

  get #isOn(): boolean {
    return !this.#over && !this.#options.signal.aborted;
  }

  /** Until `look` has found it to be the same topic still, nothing of our own is handed out at `#next`. */
  async #makeSure(look: () => Promise<void>): Promise<void> {
    this.#sure = false;
    await look();
    this.#sure = true;
  }

  /** For as long as our own appends tell what there is to be asked for. */
  async #rest(): Promise<void> {
    const { place, signal } = this.#options;
    for (let ms = place.restMs(this.#next); ms > 0; ms = place.restMs(this.#next)) {
      if (!(await sleep(ms, signal))) return;
    }
  }

  /** Undefined when the topic has nothing there and will not. */
  async #fetch(offset: number, waitMs: number): Promise<KafkaRecord[] | undefined> {
    try {
      return await this.#partition.fetch(offset, { ...fetching, waitMs });
    } catch (error) {
      if (typeOf(error) === 'OFFSET_OUT_OF_RANGE') return undefined;
      throw error;
    }
  }

  /** Trimmed while it was away, or cut off behind: never read on from just anywhere. */
  async #outOfRange(): Promise<void> {
    const { reader } = this.#options;
    const { first, next } = await this.#partition.bounds();
    if (this.#next < first) {
      this.#next = first;
      this.#options.place.next = first;
      this.#last = undefined;
      reader.gap(first);
    } else if (this.#next > next) {
      this.#cutOff(this.#next - 1, next);
    }
  }

  /** What was read last is still there as it was, unless it was trimmed. */
  async #recognise(): Promise<void> {
    const { topic, place } = this.#options;
    const last = this.#last;
    // Whatever is noticed from here on is looked at once more.
    place.doubtful = false;
    if (!last) return;
    const [record] = (await this.#fetch(last.offset, 0)) ?? [];
    if (record?.offset === last.offset) {
      if (record.timestamp === last.timestamp) return;
      this.#give(`entry ${last.offset} of the topic ${topic} is not the one that was read: the topic was made anew`);
      return;
    }
    const { first, next } = await this.#partition.bounds();
    if (last.offset < first) return;
    // A topic that has just been made anew is short, but may be long enough again when it is asked for the next entry.
    if (last.offset < next) throw new Error(`entry ${last.offset} is not to be had now`);
    this.#cutOff(last.offset, next);
  }

  #hand(record: KafkaRecord): void {
    const { reader, topic, logger } = this.#options;
    const { offset, timestamp, value, mark } = record;
    try {
      if (offset > this.#next) reader.gap(offset);
      this.#next = offset + 1;
      this.#options.place.next = this.#next;
      this.#last = { ...record, value: null };
      if (!mark) reader.entry({ position: offset, at: timestamp, data: value ?? new Uint8Array() });
    } catch (error) {
      logger.error({ err: error, topic, position: offset }, 'an entry cannot be read');
      this.#give(`entry ${offset} of the topic ${topic} cannot be read: ${messageOf(error)}`);
    }
  }

  #heed(error: unknown): void {
    if (typeOf(error) !== 'UNKNOWN_TOPIC_OR_PARTITION') {
      this.#unknownSince = undefined;
      return;
    }
    const now = performance.now();
    this.#unknownSince ??= now;
    if (now - this.#unknownSince >= removedMs) this.#give(`the topic ${this.#options.topic} was removed`);
  }

  #cutOff(read: number, next: number): void {
    const { topic } = this.#options;
    this.#give(`the topic ${topic} ends at ${next - 1}, and ${read} was read of it: it was made anew or cut off`);
  }

  #give(message: string): void {
    this.#over = true;
    this.#options.reader.lost(new MillraceError('queue.unavailable', `${message}; the gateway must be started anew`));
  }

  /** Shorter when the connection is back. */
  async #wait(delayMs: number): Promise<void> {
    const { kafka, signal } = this.#options;
    await sleepUnless(delayMs, signal, (wake) => kafka.onBack(wake));
  }
}

function typeOf(error: unknown): unknown {
  return (error as { readonly type?: unknown } | null)?.type;
}
