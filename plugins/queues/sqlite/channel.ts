import { Worker } from 'node:worker_threads';
import type { QueueHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Answers, FromThread, Late, Operation, Settings, Space, Span, ToThread } from './protocol.ts';

/** In one batch at most: the answer of the first waits for the work of all. */
const batchOperations = 512;
const batchBytes = 8 * 2 ** 20;

interface Call {
  readonly operation: Operation;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: MillraceError) => void;
}

/** What goes to the thread at once. */
class Batch {
  readonly calls: Call[] = [];
  readonly #bodies: Uint8Array[] = [];
  #bytes = 0;
  #weight = 0;

  get full(): boolean {
    return this.#weight >= batchOperations || this.#bytes >= batchBytes;
  }

  /** Where these bytes will be found. */
  readonly pack = (body: Uint8Array): Span => {
    const start = this.#bytes;
    if (body.byteLength > 0) this.#bodies.push(body);
    this.#bytes += body.byteLength;
    return [start, this.#bytes];
  };

  add(call: Call, weight: number): void {
    this.calls.push(call);
    this.#weight += weight;
  }

  /** One buffer for all: a clone of a Buffer would take the whole pool that it was cut from along. */
  bodies(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#bytes === 0) return undefined;
    const all = new Uint8Array(this.#bytes);
    let at = 0;
    for (const body of this.#bodies) {
      all.set(body, at);
      at += body.byteLength;
    }
    return all;
  }
}

/** What is told outside of answers. */
export interface Listener {
  late(answers: Late): void;
  ended(ids: readonly string[]): void;
  letters(count: number): void;
  space(space: Space): void;
  /** The thread is gone. */
  lost(error: MillraceError): void;
}

/**
 * Calls to the thread with the file. One batch is under way at a time and the next one gathers meanwhile: nobody waits
 * longer than for the sync that is at work, and under load one sync serves hundreds.
 */
export class Channel {
  readonly #settings: Settings;
  readonly #host: QueueHost;
  readonly #listener: Listener;
  readonly #gathered: Batch[] = [];
  #underWay: Batch | undefined;
  #scheduled = false;
  #thread: Worker | undefined;
  #closing = false;
  #ended: Promise<void> = Promise.resolve();
  #drained: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Queue time is the clock's monotonic time plus this. */
  #offset = 0;
  #failing = false;

  constructor(settings: Settings, host: QueueHost, listener: Listener) {
    this.#settings = settings;
    this.#host = host;
    this.#listener = listener;
  }

  async open(): Promise<{ readonly recovered: number; readonly messages: number }> {
    // The file's ending is that of this one: .ts from the sources, .js when built.
    const file = new URL(`./thread${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);
    const thread = new Worker(file, { workerData: this.#settings, name: `queue ${this.#host.name}` });
    const ended = Promise.withResolvers<void>();
    this.#ended = ended.promise;
    const opened = Promise.withResolvers<Extract<FromThread, { kind: 'opened' }>>();
    thread.on('error', (error) => {
      opened.reject(this.#unavailable(messageOf(error), error));
      this.#lost(this.#unavailable(`its thread has failed: ${messageOf(error)}`, error));
    });
    thread.on('exit', () => {
      opened.reject(this.#unavailable('its thread has ended'));
      this.#lost(this.#unavailable('its thread has ended'));
      ended.resolve();
    });
    thread.once('message', (message: FromThread) => {
      if (message.kind === 'opened') opened.resolve(message);
      else if (message.kind === 'refused') opened.reject(new MillraceError(message.code, message.message));
      thread.on('message', (answer: FromThread) => this.#answered(answer));
    });
    const { clock } = this.#host;
    thread.postMessage({ kind: 'open', now: clock.now() } satisfies ToThread, []);
    const { time, recovered, messages } = await opened.promise;
    this.#offset = time - clock.monotonic();
    this.#thread = thread;
    return { recovered, messages };
  }

  /** Resolves with the answer once what was done is durable. `weight`: how many messages it is about. */
  call<Kind extends Operation['kind']>(
    make: (pack: (body: Uint8Array) => Span) => Extract<Operation, { kind: Kind }>,
    weight = 1,
  ): Promise<Answers[Kind]> {
    return new Promise((resolve, reject) => {
      if (!this.#thread || this.#closing) {
        reject(this.#unavailable(this.#closing ? 'it is stopping' : 'it is not open'));
        return;
      }
      let batch = this.#gathered.at(-1);
      if (!batch || batch.full) {
        batch = new Batch();
        this.#gathered.push(batch);
      }
      const operation = make(batch.pack);
      batch.add({ operation, resolve: (answer) => resolve(answer as Answers[Kind]), reject }, weight);
      this.#schedule();
    });
  }

  /** Finishes what was begun, then lets go of the file. */
  async close(deadlineMs: number): Promise<void> {
    const thread = this.#thread;
    if (!thread || this.#closing) return this.#ended;
    this.#closing = true;
    clearTimeout(this.#timer);
    const timer = setTimeout(() => void thread.terminate(), deadlineMs);
    if (this.#underWay || this.#gathered.length > 0) await new Promise<void>((resolve) => (this.#drained = resolve));
    thread.postMessage({ kind: 'close' } satisfies ToThread, []);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Those who call in the same turn share a batch, however many promises later. */
  #schedule(): void {
    if (this.#underWay || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#underWay || !this.#thread) return;
    const batch = this.#gathered.shift();
    if (!batch) {
      this.#drained?.();
      return;
    }
    this.#underWay = batch;
    const { clock } = this.#host;
    const bodies = batch.bodies();
    const message: ToThread = {
      kind: 'batch',
      time: clock.monotonic() + this.#offset,
      wall: clock.now(),
      operations: batch.calls.map(({ operation }) => operation),
      bodies,
    };
    try {
      this.#thread.postMessage(message, bodies ? [bodies.buffer] : []);
    } catch (error) {
      // A value that cannot be cloned came from a caller that ignores the types. Only this batch is refused.
      this.#underWay = undefined;
      for (const { reject } of batch.calls) reject(this.#unavailable(messageOf(error), error));
      this.#schedule();
    }
  }

  #answered(message: FromThread): void {
    const calls = this.#underWay?.calls ?? [];
    this.#underWay = undefined;
    if (message.kind === 'done') {
      this.#failing = false;
      for (const [index, { resolve, reject }] of calls.entries()) {
        const answer = message.answers[index];
        if (answer instanceof Error) reject(this.#unavailable(answer.message, answer));
        else resolve(answer);
      }
      this.#listener.late(message.late);
      this.#listener.ended(message.ended);
      this.#listener.letters(message.letters);
      this.#listener.space(message.space);
      this.#arm(message.next);
    } else if (message.kind === 'failed') {
      if (!this.#failing) this.#host.logger.error({ reason: message.message }, 'the queue cannot be written');
      this.#failing = true;
      this.#listener.late(message.late);
      this.#listener.space(message.space);
      const error = this.#unavailable(message.message);
      for (const { operation, resolve, reject } of calls) {
        if (operation.kind === 'enqueue' && !message.space.isEnough) resolve('disk-full' satisfies Answers['enqueue']);
        else reject(error);
      }
      this.#arm(this.#time() + 1000);
    }
    // Those who were answered may join the next batch.
    this.#schedule();
  }

  #time(): number {
    return this.#host.clock.monotonic() + this.#offset;
  }

  /** Has the thread look at what is due by then, unless a batch makes it do so earlier. */
  #arm(at: number): void {
    clearTimeout(this.#timer);
    if (this.#closing || at === Infinity) return;
    const delay = Math.min(Math.max(0, Math.ceil(at - this.#time())), 60_000);
    this.#timer = setTimeout(() => {
      // Already refused to whoever called, and logged once.
      this.call(() => ({ kind: 'tick' })).catch(() => {});
    }, delay).unref();
  }

  #lost(error: MillraceError): void {
    const wasOpen = this.#thread !== undefined;
    this.#thread = undefined;
    clearTimeout(this.#timer);
    const batches = [...(this.#underWay ? [this.#underWay] : []), ...this.#gathered.splice(0)];
    this.#underWay = undefined;
    for (const { calls } of batches) for (const { reject } of calls) reject(error);
    this.#drained?.();
    if (!wasOpen) return;
    this.#listener.lost(error);
    if (!this.#closing) this.#host.fail(error);
  }

  #unavailable(reason: string, cause?: unknown): MillraceError {
    const message = `queue file ${this.#settings.path}: ${reason}`;
    return new MillraceError('queue.unavailable', message, { cause, retryAfterSeconds: 1 });
  }
}
