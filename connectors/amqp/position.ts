import { randomUUID } from 'node:crypto';
import type { ConsumeMessage } from 'amqplib';
import { z } from 'zod';
import type { Store } from '../../core/contracts/store.ts';
import type { AmqpConnectorConfig } from './config.ts';
import { fingerprintOf } from './message.ts';

/** How far a stream has been read, in the store's record `amqp/CONSUMER/STREAM`. */
const recordSchema = z.object({
  /** Which stream of that name it is. */
  generation: z.string(),
  /** Every message before this offset has been dealt with. Without it none has come yet. */
  next: z.int().optional(),
  /** The fingerprint of the one right before it. */
  mark: z.string().optional(),
  /** Seconds of the wall clock: when it was read for the first time. */
  since: z.int(),
});
type Record = z.output<typeof recordSchema>;

/** Somebody else has written the record meanwhile. */
export class PositionLost extends Error {
  constructor() {
    super('another gateway reads this stream as well; beginning again from where it got to');
  }
}

interface Received {
  readonly message: ConsumeMessage;
  isSettled: boolean;
}

/**
 * How far a stream has been dealt with, without a hole: AMQP keeps that of no consumer. Goes by the offsets that came, not
 * by numbers, since those of what retention has removed never come.
 */
export class Position {
  readonly #store: () => Store;
  readonly #key: string;
  readonly #start: NonNullable<AmqpConnectorConfig['start']>;
  #record: Record = { generation: randomUUID(), since: 0 };
  #version = 0;
  /** It has been attached before, here or by whoever wrote the record. */
  #isKnown = false;
  #isChanged = false;
  #writing: Promise<void> | undefined;
  /** In the order of the stream: from the first one that is not settled. */
  readonly #received = new Map<number, Received>();
  #last: ConsumeMessage | undefined;

  constructor(store: () => Store, key: string, start: AmqpConnectorConfig['start']) {
    this.#store = store;
    this.#key = key;
    this.#start = start ?? 'first';
  }

  get generation(): string {
    return this.#record.generation;
  }

  get next(): number | undefined {
    return this.#record.next;
  }

  /** Of the message right before `next`, where it is known. */
  get mark(): string | undefined {
    return this.#record.mark;
  }

  /** What has come and lies between the first that is not settled and the last. */
  get span(): number {
    return this.#received.size;
  }

  /** Reads how far it has got. To be called before each attachment. */
  async load(nowMs: number): Promise<void> {
    // What is not written is lost to whoever has read on from there.
    await this.flush().catch((error: unknown) => {
      if (!(error instanceof PositionLost)) throw error;
    });
    this.#received.clear();
    this.#last = undefined;
    const present = await this.#store().get(this.#key);
    const known = present && parse(present.value);
    this.#version = present?.version ?? 0;
    if (known) {
      this.#record = known;
      this.#isKnown = true;
      return;
    }
    this.#record = { generation: randomUUID(), since: Math.floor(nowMs / 1000) };
    this.#isChanged = true;
    await this.flush();
  }

  /** What is attached with: `x-stream-offset`. */
  attach(): unknown {
    const { next, since } = this.#record;
    const start = this.#start;
    if (next !== undefined) return next;
    const isKnown = this.#isKnown;
    this.#isKnown = true;
    // What came while nobody was attached is not to be left out.
    if (isKnown && (start === 'next' || start === 'last')) return timestamp(since);
    if (typeof start === 'string') return start;
    return 'offset' in start ? start.offset : timestamp(Math.floor(Date.parse(start.timestamp) / 1000));
  }

  /** It is another stream than it was: all of it is new. */
  reset(): void {
    this.#record = { generation: randomUUID(), next: 0, since: this.#record.since };
    this.#isChanged = true;
  }

  received(offset: number, message: ConsumeMessage): void {
    this.#received.set(offset, { message, isSettled: false });
    if (this.#record.next !== undefined) return;
    this.#record = { ...this.#record, next: offset };
    this.#isChanged = true;
  }

  settled(offset: number): void {
    const one = this.#received.get(offset);
    if (!one) return;
    one.isSettled = true;
    for (const [first, { isSettled, message }] of this.#received) {
      if (!isSettled) return;
      this.#received.delete(first);
      this.#last = message;
      this.#record = { ...this.#record, next: first + 1 };
      this.#isChanged = true;
    }
  }

  /** Writes how far it has got; rejects with `PositionLost` when somebody else has. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing.catch(() => {}); // Told to whoever began it.
    if (!this.#isChanged) return;
    this.#writing = this.#write();
    try {
      await this.#writing;
    } finally {
      this.#writing = undefined;
    }
  }

  async #write(): Promise<void> {
    if (this.#last) this.#record = { ...this.#record, mark: fingerprintOf(this.#last) };
    this.#isChanged = false;
    try {
      const version = await this.#store().put(this.#key, JSON.stringify(this.#record), { ifVersion: this.#version });
      if (version === undefined) throw new PositionLost();
      this.#version = version;
    } catch (error) {
      // Nothing is known of one that failed; what was lost to another is read from the record.
      this.#isChanged = !(error instanceof PositionLost);
      throw error;
    }
  }
}

function timestamp(seconds: number): unknown {
  return { '!': 'timestamp', value: seconds };
}

function parse(value: string): Record | undefined {
  try {
    return recordSchema.safeParse(JSON.parse(value)).data;
  } catch {
    return undefined; // Somebody else's record; the next write replaces it.
  }
}
