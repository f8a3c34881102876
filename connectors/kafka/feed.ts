import { setMaxListeners } from 'node:events';
import type { Logger } from 'pino';
import { sleep } from '../../core/contracts/clock.ts';
import type { Credit } from '../../core/contracts/connector.ts';
import { messageOf } from '../../core/contracts/errors.ts';
import type { KafkaMessage, KafkaPartition } from '../../plugins/connections/kafka/driver.ts';
import type { KafkaConnectorConfig } from './config.ts';
import { type Receipt, Watermark } from './watermark.ts';

const pageBytes = 2 ** 20;
const waitMs = 1000;
const pauseMs = { first: 100, last: 5000 } as const;

export interface FeedParts {
  readonly config: KafkaConnectorConfig;
  readonly logger: Logger;
  readonly source: KafkaPartition;
  /** What the group has committed, or else where it is to begin. */
  readonly from: number | 'earliest' | 'latest';
  readonly credit: Credit;
  /** Whether the coordinator still takes this member for alive, as far as can be known here. */
  readonly isCurrent: () => boolean;
  /** A message whose credit has been taken. */
  readonly receive: (feed: Feed, message: KafkaMessage, receipt: Receipt) => void;
  /** Called when what was to be read next is not kept. */
  readonly outOfRange: () => void;
}

/**
 * One partition for as long as it is ours. What was received from it is settled with it: once it has ended, because another
 * member has the partition or may have it, nothing of that reaches the broker.
 */
export class Feed {
  readonly topic: string;
  readonly partition: number;
  readonly #parts: FeedParts;
  readonly #ended = new AbortController();
  #watermark: Watermark | undefined;
  #admission = new AbortController();
  #admitting: Promise<void> = Promise.resolve();
  #wake: (() => void) | undefined;
  #committed: number | undefined;
  #counted = 0;
  #end: number | undefined;
  #readAt = -Infinity;
  #error: string | undefined;
  /** Nothing more is read, since messages are missing. */
  #isStuck = false;

  constructor(topic: string, partition: number, parts: FeedParts) {
    this.topic = topic;
    this.partition = partition;
    this.#parts = parts;
    this.#admission.abort(); // Until it is resumed.
    if (typeof parts.from === 'number') this.#committed = parts.from;
    setMaxListeners(0, this.#ended.signal);
  }

  /** Aborts when it ends. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  get error(): string | undefined {
    return this.#error;
  }

  get unsettled(): number {
    return this.#watermark?.unsettled ?? 0;
  }

  /** The offset that is to be committed; undefined when that has been done. */
  get due(): number | undefined {
    const next = this.#watermark?.next;
    return next === this.#committed ? undefined : next;
  }

  /** Messages that are not committed; undefined until its end is known. */
  get lag(): number | undefined {
    if (this.#end === undefined || this.#watermark === undefined) return undefined;
    return Math.max(0, this.#end - (this.#committed ?? this.#watermark.next));
  }

  /** Messages below what is due: what a commit of that acknowledges. */
  get done(): number {
    return this.#watermark?.done ?? 0;
  }

  /** Returns how many messages that has acknowledged. */
  committed(offset: number, done: number): number {
    this.#committed = offset;
    const count = done - this.#counted;
    this.#counted = done;
    return count;
  }

  settle(receipt: Receipt): void {
    this.#watermark?.settle(receipt);
    this.#wake?.();
  }

  /** Takes messages, if it does not. */
  resume(): void {
    if (this.#ended.signal.aborted || this.#isStuck || !this.#admission.signal.aborted) return;
    const admission = new AbortController();
    this.#admission = admission;
    this.#admitting = this.#admitting.then(() => this.#admit(admission.signal));
  }

  /** Takes no more; what has been received goes on. */
  hold(): void {
    this.#admission.abort();
    this.#wake?.();
  }

  end(): void {
    this.#ended.abort();
    this.hold();
    this.#parts.source.close();
  }

  /** Looks for the end of a partition that has not been read for a while, since nothing more may be received. */
  async look(): Promise<void> {
    if (performance.now() - this.#readAt < 5 * waitMs) return;
    this.#end = (await this.#parts.source.bounds(true)).next;
  }

  /** Until it is held: whatever goes wrong, it goes on when that has passed. */
  async #admit(signal: AbortSignal): Promise<void> {
    let pause: number = pauseMs.first;
    while (!signal.aborted) {
      try {
        this.#watermark ??= new Watermark(await this.#begin());
        await this.#page(this.#watermark, signal);
        pause = pauseMs.first;
        this.#error = undefined;
      } catch (error) {
        if (signal.aborted) return;
        const { topic, partition } = this;
        if ((error as { readonly type?: unknown }).type === 'OFFSET_OUT_OF_RANGE' && (await this.#moved())) continue;
        if (this.#isStuck) return;
        this.#error = `topic ${topic}, partition ${partition}: ${messageOf(error)}`;
        this.#parts.logger.warn({ err: error, topic, partition }, 'no messages could be had; asking again');
        await sleep(pause * (0.5 + Math.random() / 2), signal);
        pause = Math.min(pause * 2, pauseMs.last);
      }
    }
  }

  async #begin(): Promise<number> {
    const { from, source } = this.#parts;
    if (typeof from === 'number') return from;
    const { first, next } = await source.bounds(true);
    return from === 'earliest' ? first : next;
  }

  async #page(watermark: Watermark, signal: AbortSignal): Promise<void> {
    const { credit, source, isCurrent, receive, config } = this.#parts;
    const { perPartition } = config.concurrency;
    if (!(await this.#room(watermark, signal))) return;
    const { messages, next, end } = await source.read(watermark.position, { maxBytes: pageBytes, waitMs });
    this.#end = end;
    this.#readAt = performance.now();
    for (const message of messages) {
      // Mostly there is both, and a promise for each message would cost more than reading it.
      if (watermark.unsettled >= perPartition && !(await this.#room(watermark, signal))) return;
      if (!credit.tryTake() && !(await credit.take(signal))) return;
      if (signal.aborted) return credit.giveBack();
      if (!isCurrent()) {
        // Others may have it by now. The next heartbeat tells.
        credit.giveBack();
        await sleep(pauseMs.first, signal);
        return;
      }
      receive(this, message, watermark.receive(message.offset));
    }
    if (signal.aborted) return;
    const isHeldBack = next === watermark.position && end > next;
    watermark.pass(next);
    // The broker may answer with nothing although there is something, when somebody asks for too much.
    if (isHeldBack) await sleep(pauseMs.first, signal);
  }

  /** Resolves with true once one more may be unsettled, with false when it is held. */
  async #room(watermark: Watermark, signal: AbortSignal): Promise<boolean> {
    const { perPartition } = this.#parts.config.concurrency;
    while (!signal.aborted && watermark.unsettled >= perPartition) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    return !signal.aborted;
  }

  /** Goes on where the configuration says, if it does. */
  async #moved(): Promise<boolean> {
    const { config, source, logger, outOfRange } = this.#parts;
    const { topic, partition } = this;
    try {
      const { first, next } = await source.bounds(true);
      const position = this.#watermark?.position ?? 0;
      // It was kept when it was asked for again.
      if (position >= first && position <= next) return true;
      outOfRange();
      const found = `offset ${position} was to be read next, and ${first} to ${next} is what there is`;
      if (config.outOfRange === 'stop') {
        this.#isStuck = true;
        this.#error =
          `topic ${topic}, partition ${partition}: ${found}. It is not read any more: set outOfRange, or stop the ` +
          'gateways, set the offset of the group (`kafka-consumer-groups --reset-offsets`), and start them';
        logger.error({ topic, partition, position, first, next }, 'messages are missing; the partition is not read');
        return false;
      }
      const to = config.outOfRange === 'earliest' ? first : next;
      logger.error({ topic, partition, position, first, next, to }, 'messages are missing; going on behind them');
      this.#watermark?.pass(to);
      return true;
    } catch (error) {
      this.#error = messageOf(error);
      return false;
    }
  }
}
