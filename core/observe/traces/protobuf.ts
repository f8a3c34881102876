import { type AttributeSink, type EndedSpan, flagsOf, runEvent, type SpanContext } from './span.ts';
import type { SpanWriter, SpanWriterOptions } from './span.ts';

/** Wire types, the lower three bits of a tag. */
const [varint, fixed64, bytes, fixed32] = [0, 1, 2, 5] as const;

/**
 * Spans as OTLP's protobuf, from the end of the buffer to its start: the length of a message stands before it, and so is
 * known when its turn comes.
 * Source: https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
 */
export class ProtobufSpans implements SpanWriter, AttributeSink {
  readonly #options: SpanWriterOptions;
  #buffer = Buffer.allocUnsafeSlow(2 ** 16);
  /** What has been written begins here. */
  #at = this.#buffer.length;

  constructor(options: SpanWriterOptions) {
    this.#options = options;
  }

  add(span: EndedSpan): void {
    const { context, parent, failure } = span;
    const from = this.#size;
    this.#fixed32(16, flagsOf(context, parent !== undefined));
    if (failure) this.#status(failure.message);
    if (span.droppedLinks > 0) this.#number(14, span.droppedLinks);
    for (const link of span.links) this.#link(link);
    if (span.ranAt !== undefined) this.#event(runEvent, span.ranAt);
    span.attributesTo(this);
    this.#time(8, span.endedAt);
    this.#time(7, span.startedAt);
    this.#number(6, span.kind);
    this.#text(5, span.name);
    if (parent) this.#hex(4, parent.spanId);
    this.#ids(context);
    this.#close(2, from);
  }

  attribute(name: string, value: string | number): void {
    this.#keyValue(9, name, value);
  }

  take(): Uint8Array {
    const scope = this.#size;
    this.#text(2, this.#options.version);
    this.#text(1, 'millrace');
    this.#close(1, scope);
    this.#close(2, 0);
    const resource = this.#size;
    for (const [name, value] of Object.entries(this.#options.resource)) this.#keyValue(1, name, value);
    this.#close(1, resource);
    this.#close(1, 0);
    const request = new Uint8Array(this.#buffer.subarray(this.#at));
    this.#at = this.#buffer.length;
    return request;
  }

  #status(message: string | undefined): void {
    const from = this.#size;
    this.#number(3, 2); // An error.
    if (message !== undefined) this.#text(2, message);
    this.#close(15, from);
  }

  #event(name: string, at: number): void {
    const from = this.#size;
    this.#text(2, name);
    this.#time(1, at);
    this.#close(11, from);
  }

  #link(context: SpanContext): void {
    const from = this.#size;
    this.#fixed32(6, flagsOf(context, true));
    this.#ids(context);
    this.#close(13, from);
  }

  #ids({ traceId, spanId, state }: SpanContext): void {
    if (state !== undefined) this.#text(3, state);
    this.#hex(2, spanId);
    this.#hex(1, traceId);
  }

  #keyValue(field: number, name: string, value: string | number): void {
    const from = this.#size;
    if (typeof value === 'string') this.#text(1, value.slice(0, this.#options.longestValue));
    else if (Number.isSafeInteger(value) && value >= 0) this.#number(3, value);
    else this.#double(4, value);
    this.#close(2, from);
    this.#text(1, name);
    this.#close(field, from);
  }

  /** How much has been written: places in the buffer change when it grows. */
  get #size(): number {
    return this.#buffer.length - this.#at;
  }

  /** Length and tag of a message whose last field was begun at that size. */
  #close(field: number, from: number): void {
    this.#room(16);
    this.#varint(this.#size - from);
    this.#varint(field * 8 + bytes);
  }

  #text(field: number, text: string): void {
    // UTF-8 has three bytes at most for each of JavaScript's characters.
    this.#room(text.length * 3 + 16);
    const buffer = this.#buffer;
    const end = this.#at;
    const from = this.#size;
    let at = end;
    // A loop, since a call into C++ costs more than the few characters that most are.
    for (let index = text.length - 1; index >= 0; index--) {
      const code = text.charCodeAt(index);
      if (code > 127) {
        at = end - Buffer.byteLength(text);
        buffer.write(text, at);
        break;
      }
      buffer[--at] = code;
    }
    this.#at = at;
    this.#close(field, from);
  }

  #hex(field: number, text: string): void {
    this.#room(32);
    const from = this.#size;
    for (let index = text.length - 1; index > 0; index -= 2)
      this.#buffer[--this.#at] = digitAt(text, index - 1) * 16 + digitAt(text, index);
    this.#close(field, from);
  }

  #number(field: number, value: number): void {
    this.#room(32);
    this.#varint(value);
    this.#varint(field * 8 + varint);
  }

  #varint(value: number): void {
    if (value < 128) this.#buffer[--this.#at] = value;
    else {
      this.#varint(Math.floor(value / 128)); // The lower seven bits stand before the others.
      this.#buffer[--this.#at] = (value % 128) | 128;
    }
  }

  /** Nanoseconds, which are more than a number can hold: in two halves. */
  #time(field: number, atMs: number): void {
    const ms = Math.floor(atMs);
    const high = Math.floor(ms / 2 ** 20) * 1e6;
    const low = (high % 2 ** 12) * 2 ** 20 + (ms % 2 ** 20) * 1e6 + Math.floor((atMs - ms) * 1e6);
    this.#room(16);
    this.#at -= 8;
    this.#buffer.writeUInt32LE(low % 2 ** 32, this.#at);
    this.#buffer.writeUInt32LE(Math.floor(high / 2 ** 12) + Math.floor(low / 2 ** 32), this.#at + 4);
    this.#varint(field * 8 + fixed64);
  }

  #double(field: number, value: number): void {
    this.#room(16);
    this.#at -= 8;
    this.#buffer.writeDoubleLE(value, this.#at);
    this.#varint(field * 8 + fixed64);
  }

  #fixed32(field: number, value: number): void {
    this.#room(16);
    this.#at -= 4;
    this.#buffer.writeUInt32LE(value, this.#at);
    this.#varint(field * 8 + fixed32);
  }

  #room(needed: number): void {
    if (this.#at >= needed) return;
    const written = this.#buffer.length - this.#at;
    const larger = Buffer.allocUnsafeSlow(2 * (written + needed));
    this.#buffer.copy(larger, larger.length - written, this.#at);
    this.#buffer = larger;
    this.#at = larger.length - written;
  }
}

/** Of a lower-case hex digit: `a` is 97. */
function digitAt(text: string, index: number): number {
  const code = text.charCodeAt(index);
  return code < 97 ? code - 48 : code - 87;
}
