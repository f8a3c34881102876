import type { FunctionContext, FunctionLog } from '../api.ts';
import {
  fromThread,
  headerList,
  headerRecord,
  postable,
  streamed,
  type CallMessage,
  type Tell,
  type ThreadStart,
  type ThrownCode,
  windowBytes,
} from '../protocol.ts';
import { answerOf, answerOfResponse, BadResponse, type Answer } from './answer.ts';
import { Event, requestOf, type EventSource } from './event.ts';
import type { Loaded } from './load.ts';
import { RequestBody, TooLarge } from './request-body.ts';

/** One call in the thread; it is the function's context as well, so that a call costs few objects. */
export class ThreadCall implements FunctionContext, EventSource {
  readonly number: number;
  readonly id: string;
  readonly callId: string;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: EventSource['headers'];
  readonly attempt: number;
  readonly deadline: number;
  readonly function: string;
  readonly log: FunctionLog;
  readonly requestBody: RequestBody | undefined;
  readonly #tell: Tell;
  readonly #maxBody: number;
  readonly #bytes: Uint8Array | null;
  #controller: AbortController | undefined;
  #aborted: DOMException | undefined;
  #chunks: AsyncIterator<Uint8Array> | undefined;
  /** Bytes of the answer that may still be sent. */
  #credit = windowBytes;
  #onCredit: (() => void) | undefined;

  constructor(tell: Tell, message: CallMessage, start: ThreadStart, log: FunctionLog) {
    this.#tell = tell;
    this.#maxBody = start.maxBody;
    this.number = message[1];
    this.id = message[2];
    this.callId = message[3];
    this.method = message[4];
    this.path = message[5];
    this.query = message[6];
    this.headers = headerRecord(message[7]);
    this.attempt = message[9];
    this.deadline = message[10];
    this.function = start.function;
    this.log = log;
    const body = message[8];
    this.#bytes = body === streamed ? null : body;
    this.requestBody = body === streamed ? new RequestBody(tell, this.number) : undefined;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort(this.#aborted);
    }
    return this.#controller.signal;
  }

  get env(): FunctionContext['env'] {
    return process.env;
  }

  abort(reason: string, timeout: boolean): void {
    if (this.#aborted) return;
    this.#aborted = new DOMException(reason, timeout ? 'TimeoutError' : 'AbortError');
    this.#controller?.abort(this.#aborted);
    this.requestBody?.fail(reason);
    this.#onCredit?.();
    // Nobody reads the answer any more. What its stream says to that is of no interest either.
    this.#chunks?.return?.().catch(() => undefined);
  }

  credit(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit > 0) this.#onCredit?.();
  }

  /** A field, so that it can be handed on without a closure for each call. */
  readonly run = async (loaded: Loaded): Promise<void> => {
    try {
      const answer = loaded.fetches
        ? answerOfResponse(await loaded.handle(this.#request(), this))
        : answerOf(
            await loaded.handle(this.requestBody ? await this.#collected() : new Event(this, this.#bytes), this),
          );
      const { status, headers, body } = answer;
      if (typeof body === 'string' || body === null) {
        this.#tell([fromThread.answer, this.number, status, headerList(headers), body]);
      } else if (body instanceof Uint8Array) {
        this.#tell([fromThread.answer, this.number, status, headerList(headers), postable(body)]);
      } else {
        await this.#stream(answer, body);
      }
    } catch (error) {
      this.#tell([fromThread.thrown, this.number, codeOf(error), describe(error)]);
    }
    this.requestBody?.discard();
  };

  async #collected(): Promise<Event> {
    return new Event(this, (await this.requestBody?.collect(this.#maxBody)) ?? null);
  }

  #request(): Request {
    return requestOf(this, this.requestBody?.stream() ?? this.#bytes, this.signal);
  }

  /** A short answer still goes in one message; of a long one the head goes as soon as it is known to be long. */
  async #stream({ status, headers }: Answer, body: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks = body[Symbol.asyncIterator]();
    this.#chunks = chunks;
    if (this.#aborted) await chunks.return?.();
    const first = chunks.next();
    const second = first.then(({ done }) => (done ? undefined : chunks.next()));
    second.catch(() => undefined); // Looked at below, perhaps a turn of the event loop later.
    if (await doneInThisTurn(second)) {
      const whole = (await first).value ?? null;
      this.#tell([fromThread.answer, this.number, status, headerList(headers), whole && postable(whole)]);
      return;
    }
    this.#tell([fromThread.head, this.number, status, headerList(headers)]);
    try {
      let chunk = await first;
      for (let next = second; !chunk.done; next = chunks.next()) {
        if (this.#aborted) throw this.#aborted;
        const bytes = postable(chunk.value);
        this.#credit -= bytes.byteLength;
        this.#tell([fromThread.chunk, this.number, bytes]);
        if (this.#credit <= 0) await this.#moreCredit();
        chunk = (await next) ?? { done: true, value: undefined };
      }
      this.#tell([fromThread.end, this.number]);
    } catch (error) {
      this.#tell([fromThread.broken, this.number, describe(error)]);
    }
  }

  #moreCredit(): Promise<void> {
    if (this.#aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onCredit = resolve;
    });
  }
}

/** Whether the stream has at most one chunk, as far as can be seen within a turn of the event loop. */
async function doneInThisTurn(second: Promise<IteratorResult<Uint8Array> | undefined>): Promise<boolean> {
  const turn = new Promise<false>((resolve) => setImmediate(resolve, false));
  return Promise.race([turn, second.then((result) => result === undefined || result.done === true)]);
}

function codeOf(error: unknown): ThrownCode {
  if (error instanceof TooLarge) return 'limit.body';
  return error instanceof BadResponse ? 'function.bad-response' : 'function.failed';
}

/** Functions may throw anything at all, things that cannot be shown included. */
function describe(error: unknown): string {
  try {
    return error instanceof Error ? error.message || error.name : String(error);
  } catch {
    return 'a value that cannot be shown was thrown';
  }
}
