import { AsyncLocalStorage } from 'node:async_hooks';
import { format } from 'node:util';
import type { FunctionLog } from '../api.ts';
import { fromThread, type Tell } from '../protocol.ts';

const maxLineLength = 64 * 1024;
/** A second's worth: what is more is dropped and counted, since a function in a loop writes faster than anybody reads. */
const linesPerSecond = 1000;
const charactersPerSecond = 2 * 1024 * 1024;

/** Which call the code at work belongs to. */
export const currentCall = new AsyncLocalStorage<{ readonly callId: string }>();

/**
 * Lines that a thread writes, sent one by one as they are written: the last words before a crash matter most. A write
 * without a newline waits for the rest of its line, or for the end of the call.
 */
export class Output {
  readonly #tell: Tell;
  #rest = '';
  #restCall: string | undefined;
  #secondStart = 0;
  #lines = 0;
  #characters = 0;
  #dropped = 0;

  constructor(tell: Tell) {
    this.#tell = tell;
  }

  /** Takes the place of the thread's own stdout and stderr, which `console` writes to. */
  capture(): void {
    const decoder = new TextDecoder();
    for (const stream of [process.stdout, process.stderr]) {
      stream.write = (chunk: Uint8Array | string, encoding?: unknown, done?: unknown) => {
        this.write(typeof chunk === 'string' ? chunk : decoder.decode(chunk));
        const callback = typeof encoding === 'function' ? encoding : done;
        if (typeof callback === 'function') process.nextTick(callback);
        return true;
      };
    }
  }

  readonly log: FunctionLog = {
    debug: (...values) => this.#log('DEBUG', values),
    info: (...values) => this.#log('INFO', values),
    warn: (...values) => this.#log('WARN', values),
    error: (...values) => this.#log('ERROR', values),
  };

  /** A line of its own, whatever was being written. */
  #log(level: string, values: readonly unknown[]): void {
    this.flush();
    this.write(`${level} ${format(...values)}\n`);
  }

  write(text: string): void {
    const callId = currentCall.getStore()?.callId;
    if (this.#rest !== '' && this.#restCall !== callId) this.flush();
    this.#restCall = callId;
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      this.#line(callId, this.#rest + text.slice(start, end));
      this.#rest = '';
      start = end + 1;
    }
    if (start < text.length) this.#rest = (this.#rest + text.slice(start)).slice(0, maxLineLength + 1);
    if (this.#rest.length > maxLineLength) this.flush();
  }

  flush(): void {
    if (this.#rest === '') return;
    const rest = this.#rest;
    this.#rest = '';
    this.#line(this.#restCall, rest);
  }

  #line(callId: string | undefined, text: string): void {
    const now = performance.now();
    if (now - this.#secondStart >= 1000) {
      this.#secondStart = now;
      this.#lines = 0;
      this.#characters = 0;
      this.#tellDropped();
    }
    if (this.#lines >= linesPerSecond || this.#characters >= charactersPerSecond) {
      if (this.#dropped === 0) {
        // The notice must come even if nothing is written any more; unref, since it must keep nobody alive.
        setTimeout(() => this.#tellDropped(), 1000).unref();
      }
      this.#dropped += 1;
      return;
    }
    this.#lines += 1;
    this.#characters += text.length;
    const line = text.length > maxLineLength ? `${text.slice(0, maxLineLength)}… (cut)` : text;
    this.#tell([fromThread.log, 0, callId, line]);
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    const notice = `${this.#dropped} lines were dropped: more than ${linesPerSecond} lines or 2 MiB in a second`;
    this.#dropped = 0;
    this.#tell([fromThread.log, 0, undefined, notice]);
  }
}
