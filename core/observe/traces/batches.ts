import type { EndedSpan, SpanWriter } from './span.ts';

export interface BatchLimits {
  /** How long a span waits for company, ms. */
  readonly delayMs: number;
  /** Spans that wait at most; what comes then is dropped. */
  readonly queue: number;
  /** Spans that are sent at once. */
  readonly batch: number;
}

/** Spans that are sent together. */
export interface Batch {
  readonly request: Uint8Array;
  readonly count: number;
}

/** At least this long from one word of dropped spans to the next, ms. */
const tellEveryMs = 5000;

/** Gathers spans and sends them, one batch at a time. No call waits for it, and what it holds is bounded. */
export class SpanBatches {
  readonly #writer: SpanWriter;
  readonly #limits: BatchLimits;
  readonly #send: (batch: Batch) => Promise<void>;
  readonly #tell: (message: string) => void;
  readonly #full: Batch[] = [];
  #gathered = 0;
  /** Gathered, or in a full batch that is not being sent yet. */
  #waiting = 0;
  #dropped = 0;
  #toldAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;

  constructor(
    writer: SpanWriter,
    limits: BatchLimits,
    send: (batch: Batch) => Promise<void>,
    tell: (message: string) => void,
  ) {
    this.#writer = writer;
    this.#limits = limits;
    this.#send = send;
    this.#tell = tell;
  }

  add(span: EndedSpan): void {
    if (this.#waiting >= this.#limits.queue) {
      this.#dropped++;
      return;
    }
    this.#writer.add(span);
    this.#waiting++;
    this.#gathered++;
    if (this.#gathered >= this.#limits.batch) this.#close();
    else this.#timer ??= setTimeout(() => this.#close(), this.#limits.delayMs).unref();
  }

  /** Resolves once all that has ended is sent. */
  async stop(): Promise<void> {
    this.#close();
    await this.#sending;
    this.#tellDropped();
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#gathered === 0) return;
    this.#full.push({ request: this.#writer.take(), count: this.#gathered });
    this.#gathered = 0;
    this.#sending ??= this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    for (let batch = this.#full.shift(); batch; batch = this.#full.shift()) {
      this.#waiting -= batch.count;
      try {
        await this.#send(batch);
      } catch (error) {
        this.#tell(`${batch.count} spans could not be sent: ${String(error)}`);
      }
      if (performance.now() - this.#toldAt >= tellEveryMs) this.#tellDropped();
    }
    this.#sending = undefined;
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    this.#tell(`${this.#dropped} spans were dropped: more ended than the collector took (OTEL_BSP_MAX_QUEUE_SIZE)`);
    this.#dropped = 0;
    this.#toldAt = performance.now();
  }
}
