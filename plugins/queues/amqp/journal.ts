import type { Logger } from 'pino';
import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Journal, JournalReader } from '../../../core/contracts/journal.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';
import type { Catalog, Segment } from './catalog.ts';
import { ColdReads, type Place, type Range } from './cold-reads.ts';
import { discover } from './discovery.ts';
import type { Kind, StreamMessage } from './entry.ts';
import { Follower } from './follower.ts';
import { Outbox } from './outbox.ts';
import { unavailable } from './reader.ts';
import { scan } from './scan.ts';
import { declareStream, deleteStream, isMissing, untilReadable } from './stream.ts';
import { Tail } from './tail.ts';

export interface AmqpJournalOptions {
  readonly amqp: AmqpConnection;
  readonly catalog: Catalog;
  readonly name: string;
  /** What the names of its streams begin with. */
  readonly prefix: string;
  readonly logger: Logger;
  /** A stream that holds as much is followed by the next one. */
  readonly segmentBytes: number;
  /** Entries that others wrote are kept in memory for a while, since they are read soon. */
  readonly caches: boolean;
}

/** Far below the broker's own bound, so that one entry does not keep others waiting for long. */
const largestBytes = 512 * 1024;
/** Fewer than the broker puts into one file, which it never forgets as long as it is the newest one. */
const segmentEntries = 100_000;
/** So long after it became full a segment should have ended. */
const sealMs = 5000;
/** So long may it take until the streams are there. */
const openMs = 15_000;
const pauseMs = { first: 50, last: 1000 } as const;

/** Streams in a row, of which the last one is written to: only whole streams can be deleted. */
export class AmqpJournal implements Journal {
  readonly origin = 0;
  readonly maxBytes = largestBytes;
  readonly #options: AmqpJournalOptions;
  readonly #amqp: AmqpConnection;
  readonly #closing = new AbortController();
  readonly #outbox = new Outbox();
  readonly #followers = new Set<Follower>();
  readonly #reads: ColdReads;
  #segments: readonly [Segment, ...Segment[]] = [{ generation: 0, base: 0 }];
  /** The next offset of the last segment. */
  #next = 0;
  #bytes = 0;
  #lastEntry = -1;
  #tail: Tail | undefined;
  /** What is written now will come back, as far as is known. */
  #live = false;
  #sealing = false;
  /** The entry that made the last segment full. */
  #full: { readonly position: number; readonly since: number } | undefined;
  /** It has come to the end of a segment, and not begun the next one yet. */
  #rolling = false;
  #dead: Error | undefined;
  #running: Promise<void> | undefined;

  constructor(options: AmqpJournalOptions) {
    this.#options = options;
    this.#amqp = options.amqp;
    this.#reads = new ColdReads({
      locate: (position) => this.#locate(position),
      scan: (range, hear) => this.#scanRange(range, hear),
      refresh: () => this.#refresh(),
    });
  }

  get available(): boolean {
    return this.#live && this.#amqp.connected && !this.#amqp.blocked && !this.#dead;
  }

  /** Finds its streams, or makes the first one; resolves once it can be used. */
  async open(): Promise<void> {
    await this.#find();
    const off = this.#amqp.onBlocked(() => {
      if (this.#amqp.blocked) this.#outbox.refuseAll(new Error('RabbitMQ takes no messages now'));
    });
    this.#closing.signal.addEventListener('abort', off, { once: true });
    const begun = Promise.withResolvers<void>();
    this.#running = this.#run(begun.resolve, begun.reject);
    const stop = new AbortController();
    void sleep(openMs, stop.signal).then(() =>
      begun.reject(unavailable(`RabbitMQ does not give ${this.#nameOf(this.#last)} to read`)),
    );
    await begun.promise.finally(() => stop.abort());
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#live = false;
    this.#outbox.refuseAll(new Error('the queue is stopping'));
    this.#tail?.close();
    await this.#running;
  }

  async append(data: Uint8Array): Promise<number> {
    if (data.byteLength > largestBytes) throw new Error(`an entry of ${data.byteLength} bytes is too large`);
    const position = await this.#write('entry', data);
    // Whoever's entry made it full ends it, so that two do not do so at once; another one if that was in vain.
    const isMine = this.#full?.position === position;
    const isLate = this.#full !== undefined && performance.now() - this.#full.since > sealMs;
    if ((isMine || isLate) && !this.#sealing) void this.#seal();
    return position;
  }

  async follow(from: number, reader: JournalReader, signal: AbortSignal): Promise<void> {
    const follower = new Follower(from, reader, signal, this.#options.logger);
    if (this.#dead) {
      follower.lose(this.#dead);
      return;
    }
    this.#followers.add(follower);
    signal.addEventListener('abort', () => this.#followers.delete(follower), { once: true });
    void this.#feed(follower);
  }

  async read(position: number): Promise<Uint8Array | undefined> {
    this.#check();
    // Another gateway may know of what is still on its way to this one.
    if (position >= this.#end) await this.bounds();
    if (position > this.#lastEntry) return undefined;
    return this.#reads.get(position);
  }

  async bounds(): Promise<{ first: number; next: number }> {
    await this.#write('mark', Buffer.alloc(0));
    const [{ base: first }] = this.#segments;
    return { first, next: Math.max(first, this.#lastEntry + 1) };
  }

  async trim(before: number): Promise<void> {
    this.#check();
    const { catalog, name } = this.#options;
    const kept = this.#segments.findLastIndex(({ base }) => base <= before);
    const first = this.#segments[kept];
    if (kept <= 0 || !first) return;
    const dropped = this.#segments.slice(0, kept);
    try {
      // Said before it is done: what a crash leaves is deleted by the next one who opens it.
      await catalog.write({ journal: name, first, segment: this.#last });
      for (const segment of dropped) await deleteStream(this.#amqp, this.#nameOf(segment));
    } catch (error) {
      throw unavailable('the journal was not shortened', error);
    }
    this.#forgetBefore(first.generation);
  }

  get #last(): Segment {
    return this.#segments.at(-1) ?? this.#segments[0];
  }

  /** The position after the last message. */
  get #end(): number {
    return this.#last.base + this.#next;
  }

  #nameOf = ({ generation }: Pick<Segment, 'generation'>): string => {
    const { prefix, name } = this.#options;
    return `${prefix}-${name}.${generation}`;
  };

  #check(): void {
    if (this.#dead) throw unavailable(messageOf(this.#dead), this.#dead);
    if (!this.available) throw unavailable('RabbitMQ cannot be reached, or takes no messages now');
  }

  async #write(kind: Kind, data: Uint8Array): Promise<number> {
    this.#check();
    const { message, position } = this.#outbox.add(kind, data, this.#bytes);
    // Between two segments there is no tail: it is written once there is.
    this.#tail?.write(message);
    return position;
  }

  /** A broker that has only just started may not know its streams yet. */
  async #find(): Promise<void> {
    const deadline = performance.now() + openMs;
    for (;;) {
      try {
        await this.#discover();
        return;
      } catch (error) {
        if (error instanceof MillraceError && error.code === 'config.invalid') throw error;
        this.#options.logger.debug({ err: error, journal: this.#options.name }, 'the streams cannot be read yet');
        const last = performance.now() > deadline;
        if (last || !(await sleep(pauseMs.first * 4, this.#closing.signal))) {
          throw unavailable('the streams of the queue cannot be read', error);
        }
      }
    }
  }

  async #discover(): Promise<void> {
    const { catalog, name: journal } = this.#options;
    const signal = this.#closing.signal;
    const found = await discover({ amqp: this.#amqp, catalog, journal, nameOf: this.#nameOf, signal });
    this.#segments = found.segments;
    this.#next = found.next;
    this.#bytes = found.bytes;
    this.#lastEntry = found.lastEntry;
  }

  async #run(begun: () => void, failed: (error: unknown) => void): Promise<void> {
    const { signal } = this.#closing;
    let waitMs: number = pauseMs.first;
    while (!signal.aborted) {
      try {
        const end = await this.#attend(() => {
          waitMs = pauseMs.first;
          begun();
        });
        this.#rolling = end === 'sealed';
        if (end === 'sealed') continue;
        throw end;
      } catch (error) {
        // The next segment may not be there at once: what waits for it waits a little longer.
        if (!this.#rolling || !this.#amqp.connected) {
          this.#live = false;
          this.#outbox.refuseAll(error as Error);
        }
        if (signal.aborted) break;
        this.#options.logger.debug({ err: error, journal: this.#options.name }, 'reading the stream anew');
        const fatal = await this.#recover(error);
        if (fatal) {
          failed(fatal);
          this.#die(fatal);
          break;
        }
      }
      if (await sleep(waitMs * (0.5 + Math.random()), signal)) waitMs = Math.min(waitMs * 2, pauseMs.last);
    }
    failed(unavailable('the queue is stopping'));
  }

  /** Reads and writes at the end of the last segment, until that is sealed or something goes wrong. */
  async #attend(begun: () => void): Promise<Error | 'sealed'> {
    const sealed = Promise.withResolvers<'sealed'>();
    let over = false;
    const hear = (offset: number, message: StreamMessage | undefined, content: Buffer): void => {
      if (over) return;
      over = this.#hear(offset, message, content) === 'sealed';
      if (over) sealed.resolve('sealed');
    };
    const refuse = (id: string, error: Error): void => {
      // After a seal it counts for nothing here, and is written again in the next segment.
      if (!over) this.#outbox.refuse(id, error);
    };
    const options = { amqp: this.#amqp, stream: this.#nameOf(this.#last), next: this.#next, hear };
    const tail = await Tail.begin(options, refuse);
    try {
      if (this.#closing.signal.aborted) return unavailable('the queue is stopping');
      if (!over) {
        this.#tail = tail;
        this.#live = true;
        this.#rolling = false;
        for (const message of this.#outbox.messages()) tail.write(message);
        begun();
      }
      return await Promise.race([sealed.promise, tail.ended]);
    } finally {
      this.#tail = undefined;
      tail.close();
    }
  }

  #hear(offset: number, message: StreamMessage | undefined, content: Buffer): 'sealed' | undefined {
    const { kind, id = '', data = content } = message ?? {};
    const position = this.#last.base + offset;
    if (kind === 'seal') {
      const { generation } = this.#last;
      this.#segments = [...this.#segments, { generation: generation + 1, base: position }];
      this.#next = 0;
      this.#bytes = 0;
      this.#full = undefined;
      // Also one's own that came too late: it must not end the next segment, too.
      this.#outbox.settleSeals(position);
      return 'sealed';
    }
    this.#next = offset + 1;
    this.#bytes = Math.max(this.#bytes, message?.bytesBefore ?? 0) + content.byteLength;
    if (kind !== 'mark') {
      this.#lastEntry = position;
      const isFull = this.#bytes >= this.#options.segmentBytes || this.#next >= segmentEntries;
      if (isFull) this.#full ??= { position, since: performance.now() };
      if (this.#options.caches && !this.#outbox.has(id)) this.#reads.keep(position, data);
    }
    for (const follower of this.#followers) if (follower.attached) follower.hear(position, kind, data);
    this.#outbox.settle(id, position);
    return undefined;
  }

  async #seal(): Promise<void> {
    const { catalog, name, logger } = this.#options;
    this.#sealing = true;
    try {
      const { generation } = this.#last;
      const stream = this.#nameOf({ generation: generation + 1 });
      await declareStream(this.#amqp, stream);
      await untilReadable(this.#amqp, stream);
      if (this.#last.generation !== generation) return;
      const base = await this.#write('seal', Buffer.alloc(0));
      const segment = this.#segments.find((each) => each.base === base && each.generation > generation);
      if (segment) await catalog.write({ journal: name, first: this.#segments[0], segment });
    } catch (error) {
      // The next entry tries again.
      logger.debug({ err: error, journal: name }, 'the stream was not ended');
    } finally {
      this.#sealing = false;
    }
  }

  /** After the tail has ended. Resolves with what cannot be mended. */
  async #recover(error: unknown): Promise<Error | undefined> {
    if (error instanceof MillraceError && error.code === 'config.invalid') return error;
    if (!isMissing(error)) return undefined;
    try {
      // Others may have gone on, and forgotten what this one did not see.
      await this.#discover();
    } catch (failure) {
      return failure instanceof MillraceError && failure.code === 'config.invalid' ? failure : undefined;
    }
    for (const follower of this.#followers) {
      if (!follower.attached) continue;
      follower.attached = false;
      void this.#feed(follower);
    }
    return undefined;
  }

  #die(error: Error): void {
    this.#dead = error;
    for (const follower of this.#followers) follower.lose(error);
    this.#followers.clear();
  }

  /** Lets a follower read what it has missed, until it is at the end. */
  async #feed(follower: Follower): Promise<void> {
    const { signal } = this.#closing;
    while (!follower.over && !signal.aborted && !follower.attached) {
      const [first] = this.#segments;
      if (follower.next < first.base) follower.skipTo(first.base);
      if (follower.next >= this.#end) {
        follower.attached = true;
        break;
      }
      try {
        await this.#catchUp(follower);
      } catch (error) {
        this.#options.logger.debug({ err: error, journal: this.#options.name }, 'the journal cannot be read now');
        if (isMissing(error)) await this.#refresh().catch(() => {});
        await sleep(pauseMs.first + Math.random() * pauseMs.first, signal);
      }
    }
    if (!follower.attached) this.#followers.delete(follower);
  }

  async #catchUp(follower: Follower): Promise<void> {
    const index = this.#segments.findLastIndex(({ base }) => base <= follower.next);
    const segment = this.#segments[index];
    if (!segment) return;
    const limit = (): number => {
      const following = this.#segments.find(({ generation }) => generation === segment.generation + 1);
      return following?.base ?? this.#end;
    };
    await scan({
      amqp: this.#amqp,
      stream: this.#nameOf(segment),
      from: follower.next - segment.base,
      signal: this.#closing.signal,
      hear: (offset, message, content) => {
        const position = segment.base + offset;
        if (position < limit()) follower.hear(position, message?.kind, message?.data ?? content);
        if (position + 1 < limit()) return follower.over;
        // Before anything else happens: what the tail hears next is for this follower, too.
        follower.next = Math.max(follower.next, limit());
        follower.attached = follower.next >= this.#end;
        return true;
      },
    });
  }

  #locate(position: number): Place | undefined {
    const index = this.#segments.findLastIndex(({ base }) => base <= position);
    const segment = this.#segments[index];
    if (!segment) return undefined;
    const following = this.#segments[index + 1];
    const end = following ? following.base - segment.base : this.#next;
    return { stream: this.#nameOf(segment), base: segment.base, offset: position - segment.base, end };
  }

  #scanRange({ stream, from, upTo }: Range, hear: (offset: number, data: Uint8Array) => void): Promise<void> {
    return scan({
      amqp: this.#amqp,
      stream,
      from,
      signal: this.#closing.signal,
      hear: (offset, message, content) => {
        if (offset < upTo && (!message || message.kind === 'entry')) hear(offset, message?.data ?? content);
        return offset >= upTo - 1;
      },
    });
  }

  /** Leaves out what others have forgotten. */
  async #refresh(): Promise<void> {
    const { first } = await this.#options.catalog.load(this.#options.name, this.#closing.signal);
    if (first) this.#forgetBefore(first.generation);
  }

  #forgetBefore(generation: number): void {
    const [first = this.#last, ...others] = this.#segments.filter((each) => each.generation >= generation);
    this.#segments = [first, ...others];
  }
}
