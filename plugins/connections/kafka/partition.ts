import { sleep } from '../../../core/contracts/clock.ts';
import { bufferOf } from '../../../core/kit/body.ts';
import type { Channel } from './channel.ts';
import type { KafkaPage, KafkaPartition, KafkaPlace, KafkaRecord, KafkaValue } from './driver.ts';
import { KeptChannel } from './kept-channel.ts';
import { decodePage } from './page.ts';
import { askRaw } from './raw-request.ts';

/** What a partition needs of the cluster that it belongs to. */
interface Owner {
  dialLeader(): Promise<Channel>;
  connected(): boolean;
}

/** An append waits for replicas; whoever asks is not to wait for longer. */
const answerMs = 5000;
/** What a fetch may take more than it was told to wait. */
const fetchMs = 3000;
const patienceMs = 5000;
const againMs = 100;
/** What is fetched was taken by all replicas in sync; transactions, which the journals have none of, are not looked at. */
const readUncommitted = 0;
const readCommitted = 1;
const ask = { earliest: -2, latest: -1 } as const;

/** One partition over kafkajs, on whichever broker leads it. */
export class Partition implements KafkaPartition {
  readonly #topic: string;
  readonly #partition: number;
  readonly #owner: Owner;
  readonly #channel: KeptChannel;

  constructor(topic: string, partition: number, owner: Owner) {
    this.#topic = topic;
    this.#partition = partition;
    this.#owner = owner;
    this.#channel = new KeptChannel(() => owner.dialLeader());
  }

  async append(records: readonly KafkaValue[]): Promise<KafkaPlace> {
    const { topics } = await this.#ask(answerMs, (channel, timeoutMs) =>
      channel.ask(
        (broker) =>
          broker.produce({ acks: -1, timeout: answerMs, topicData: this.#only({ messages: records.map(messageOf) }) }),
        timeoutMs,
      ),
    );
    const { baseOffset, logAppendTime } = topics[0]?.partitions[0] ?? {};
    const timestamp = Number(logAppendTime);
    return { offset: Number(baseOffset), timestamp: timestamp < 0 ? undefined : timestamp };
  }

  async fetch(offset: number, { maxBytes, waitMs }: { maxBytes: number; waitMs: number }): Promise<KafkaRecord[]> {
    const { responses } = await this.#ask(waitMs + fetchMs, (channel, timeoutMs) =>
      channel.ask(
        (broker) =>
          broker.fetch({
            isolationLevel: readUncommitted,
            maxWaitTime: waitMs,
            minBytes: 1,
            maxBytes,
            topics: this.#only({ fetchOffset: String(offset), maxBytes }),
          }),
        timeoutMs,
      ),
    );
    const all = responses[0]?.partitions[0]?.messages ?? [];
    // A batch is given whole, also when it begins before what was asked for.
    return all
      .map((each) => ({
        offset: Number(each.offset),
        timestamp: Number(each.timestamp),
        value: each.value,
        mark: each.isControlRecord,
      }))
      .filter((record) => record.offset >= offset);
  }

  read(offset: number, { maxBytes, waitMs }: { maxBytes: number; waitMs: number }): Promise<KafkaPage> {
    const request = {
      isolationLevel: readCommitted,
      maxWaitTime: waitMs,
      minBytes: 1,
      maxBytes,
      topics: this.#only({ fetchOffset: String(offset), maxBytes }),
    };
    const decode = (payload: Buffer, version: number): Promise<KafkaPage> => decodePage(payload, version, offset);
    return this.#ask(waitMs + fetchMs, (channel, timeoutMs) =>
      channel.ask((broker) => askRaw(broker, 'Fetch', request, decode), timeoutMs),
    );
  }

  async bounds(decided = false): Promise<{ first: number; next: number }> {
    const isolationLevel = decided ? readCommitted : readUncommitted;
    const one = async (timestamp: number): Promise<number> => {
      const { responses } = await this.#ask(answerMs, (channel, timeoutMs) =>
        channel.ask((broker) => broker.listOffsets({ isolationLevel, topics: this.#only({ timestamp }) }), timeoutMs),
      );
      return Number(responses[0]?.partitions[0]?.offset);
    };
    const first = await one(ask.earliest);
    return { first, next: await one(ask.latest) };
  }

  async deleteBefore(offset: number): Promise<void> {
    // kafkajs gives the broker 5 s for it.
    await this.#ask(2 * answerMs, (channel, timeoutMs) =>
      channel.ask((broker) => broker.deleteRecords({ topics: this.#only({ offset: String(offset) }) }), timeoutMs),
    );
  }

  close(): void {
    this.#channel.close();
  }

  /** Asks the leader, and the next one where it was none and has done nothing. */
  async #ask<Result>(
    timeoutMs: number,
    work: (channel: Channel, timeoutMs: number) => Promise<Result>,
  ): Promise<Result> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const channel = await this.#channel.open();
      try {
        return await work(channel, timeoutMs);
      } catch (thrown) {
        const error = causeOf(thrown);
        const { type = '' } = error as { readonly type?: string };
        if (!moved.has(type)) throw error;
        channel.close('it does not lead the partition any more');
        if (!this.#owner.connected() || performance.now() + againMs >= deadline) throw error;
        await sleep(againMs);
      }
    }
  }

  #only<Rest extends object>(rest: Rest): [{ topic: string; partitions: [{ partition: number } & Rest] }] {
    return [{ topic: this.#topic, partitions: [{ partition: this.#partition, ...rest }] }];
  }
}

/** The broker has done nothing, since it does not lead, or not yet. */
const moved = new Set([
  'NOT_LEADER_FOR_PARTITION',
  'LEADER_NOT_AVAILABLE',
  'REPLICA_NOT_AVAILABLE',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'OFFSET_NOT_AVAILABLE',
]);

/** kafkajs has one error for all partitions of a request to delete records. */
function causeOf(error: unknown): object {
  const { partitions: [only] = [] } = error as { readonly partitions?: readonly { readonly error?: object }[] };
  return only?.error ?? (error as object);
}

function messageOf({ value, key, headers }: KafkaValue): object {
  const named = Object.entries(headers ?? {}).map(([name, bytes]) => [name, bufferOf(bytes)]);
  return { key: key ? bufferOf(key) : null, value: bufferOf(value), headers: Object.fromEntries(named) };
}
