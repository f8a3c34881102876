import { type Attributes, type EndedSpan, flagsOf, runEvent, type SpanContext } from './span.ts';
import type { SpanWriter, SpanWriterOptions } from './span.ts';
import {
  doubleField,
  fixed32Field,
  hexField,
  messageField,
  mostOther,
  mostText,
  numberField,
  textField,
  timeField,
} from './wire.ts';

/** How many sets of attributes are remembered. */
const mostRemembered = 16;

/** Attributes of spans, and what they are as fields of one. */
interface Remembered {
  readonly attributes: Attributes;
  readonly fields: Uint8Array;
}

/**
 * Spans as OTLP's protobuf. What most of them have in common is written once and copied.
 * Source: https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
 */
export class ProtobufSpans implements SpanWriter {
  readonly #options: SpanWriterOptions;
  readonly #remembered: Remembered[] = [];
  /** Whose place the next set of attributes takes. */
  #oldest = 0;
  #buffer = Buffer.allocUnsafeSlow(2 ** 16);
  /** What has been written begins here. */
  #at = this.#buffer.length;

  constructor(options: SpanWriterOptions) {
    this.#options = options;
  }

  add(span: EndedSpan): void {
    const { context, parent, failure, own } = span;
    const common = this.#fieldsOf(span.common);
    this.#room(mostOf(span) + common.length);
    const buffer = this.#buffer;
    const end = this.#at;
    let at = fixed32Field(buffer, end, 16, flagsOf(context, parent !== undefined));
    if (failure) at = statusField(buffer, at, failure.message);
    if (span.droppedLinks > 0) at = numberField(buffer, at, 14, span.droppedLinks);
    for (const link of span.links) at = linkField(buffer, at, link);
    if (span.ranAt !== undefined) at = eventField(buffer, at, runEvent, span.ranAt);
    at = this.#attributes(buffer, at, 9, own);
    at -= common.length;
    buffer.set(common, at);
    at = timeField(buffer, at, 8, span.endedAt);
    at = timeField(buffer, at, 7, span.startedAt);
    at = numberField(buffer, at, 6, span.kind);
    at = textField(buffer, at, 5, span.name);
    if (parent) at = hexField(buffer, at, 4, parent.spanId);
    at = idFields(buffer, at, context);
    this.#at = messageField(buffer, at, 2, end);
  }

  take(): Uint8Array {
    const { resource, version } = this.#options;
    const who = Object.entries(resource).flat();
    this.#room(mostOfAttributes(who) + mostText(version) + 8 * mostOther);
    const buffer = this.#buffer;
    const { length } = buffer;
    let at = textField(buffer, this.#at, 2, version);
    at = textField(buffer, at, 1, 'millrace');
    at = messageField(buffer, at, 1, this.#at);
    const end = (at = messageField(buffer, at, 2, length));
    at = this.#attributes(buffer, at, 1, who);
    at = messageField(buffer, at, 1, end);
    at = messageField(buffer, at, 1, length);
    this.#at = length;
    return new Uint8Array(buffer.subarray(at));
  }

  /** Of attributes that many spans have. */
  #fieldsOf(attributes: Attributes): Uint8Array {
    for (const remembered of this.#remembered) if (areSame(remembered.attributes, attributes)) return remembered.fields;
    const buffer = Buffer.allocUnsafeSlow(mostOfAttributes(attributes));
    const fields = buffer.subarray(this.#attributes(buffer, buffer.length, 9, attributes));
    this.#remembered[this.#oldest] = { attributes, fields: new Uint8Array(fields) };
    this.#oldest = (this.#oldest + 1) % mostRemembered;
    return fields;
  }

  #attributes(buffer: Buffer, end: number, field: number, attributes: Attributes): number {
    let at = end;
    for (let index = attributes.length - 2; index >= 0; index -= 2) {
      at = this.#keyValue(buffer, at, field, attributes[index] as string, attributes[index + 1] ?? '');
    }
    return at;
  }

  #keyValue(buffer: Buffer, end: number, field: number, name: string, value: string | number): number {
    let at = end;
    if (typeof value === 'string') at = textField(buffer, at, 1, this.#cut(value));
    else if (Number.isSafeInteger(value) && value >= 0) at = numberField(buffer, at, 3, value);
    else at = doubleField(buffer, at, 4, value);
    at = messageField(buffer, at, 2, end);
    return messageField(buffer, textField(buffer, at, 1, name), field, end);
  }

  #cut(value: string): string {
    const { longestValue } = this.#options;
    return value.length > longestValue ? value.slice(0, longestValue) : value;
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

function statusField(buffer: Buffer, end: number, message: string | undefined): number {
  let at = numberField(buffer, end, 3, 2); // An error.
  if (message !== undefined) at = textField(buffer, at, 2, message);
  return messageField(buffer, at, 15, end);
}

function eventField(buffer: Buffer, end: number, name: string, atMs: number): number {
  return messageField(buffer, timeField(buffer, textField(buffer, end, 2, name), 1, atMs), 11, end);
}

function linkField(buffer: Buffer, end: number, link: SpanContext): number {
  return messageField(buffer, idFields(buffer, fixed32Field(buffer, end, 6, flagsOf(link, true)), link), 13, end);
}

function idFields(buffer: Buffer, end: number, { traceId, spanId, state }: SpanContext): number {
  const at = state === undefined ? end : textField(buffer, end, 3, state);
  return hexField(buffer, hexField(buffer, at, 2, spanId), 1, traceId);
}

/** Bytes of a span at most, without the attributes that are copied. */
function mostOf({ context, name, failure, own, links }: EndedSpan): number {
  let bytes = 16 * mostOther + mostText(name) + mostText(context.state ?? '') + mostText(failure?.message ?? '');
  for (const { state = '' } of links) bytes += 4 * mostOther + mostText(state);
  return bytes + mostOfAttributes(own);
}

function mostOfAttributes(attributes: Attributes): number {
  let bytes = 0;
  for (const each of attributes) bytes += mostOther + (typeof each === 'string' ? mostText(each) : mostOther);
  return bytes;
}

function areSame(ones: Attributes, others: Attributes): boolean {
  if (ones.length !== others.length) return false;
  for (let index = 0; index < ones.length; index++) if (ones[index] !== others[index]) return false;
  return true;
}
