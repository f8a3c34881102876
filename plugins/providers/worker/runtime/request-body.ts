import { fromThread, type Tell } from '../protocol.ts';

/** The body is longer than the function takes. */
export class TooLarge extends Error {}

/** A request's body that comes in chunks. The host sends as much as has been read, and a window more. */
export class RequestBody {
  readonly #tell: Tell;
  readonly #call: number;
  #waiting: Uint8Array[] = [];
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(tell: Tell, call: number) {
    this.#tell = tell;
    this.#call = call;
  }

  push(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  fail(message: string): void {
    if (this.#ended) return;
    this.#error ??= new Error(message);
    this.#wake?.();
  }

  /** The call is over: whatever has not come yet need not come. */
  discard(): void {
    this.#waiting = [];
    if (this.#ended || this.#error) return;
    this.#ended = true;
    this.#tell([fromThread.unread, this.#call]);
  }

  async collect(maxBytes: number): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) {
      size += chunk.byteLength;
      if (size > maxBytes) throw new TooLarge(`the body is larger than the ${maxBytes} bytes that the function takes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, size);
  }

  stream(): ReadableStream {
    return new ReadableStream(
      {
        type: 'bytes',
        pull: async (controller) => {
          const chunk = await this.#next();
          if (chunk) {
            controller.enqueue(chunk as Uint8Array<ArrayBuffer>);
            return;
          }
          controller.close();
          controller.byobRequest?.respond(0);
        },
        cancel: () => this.discard(),
      },
      { highWaterMark: 0 },
    );
  }

  async #next(): Promise<Uint8Array | undefined> {
    while (this.#waiting.length === 0) {
      if (this.#error) throw this.#error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const chunk = this.#waiting.shift();
    if (chunk) this.#tell([fromThread.credit, this.#call, chunk.byteLength]);
    return chunk;
  }
}
