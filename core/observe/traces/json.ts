import { type Attributes, type EndedSpan, flagsOf, runEvent, type SpanContext } from './span.ts';
import type { SpanWriter, SpanWriterOptions } from './span.ts';

/**
 * Spans as OTLP's JSON, for collectors that take nothing else.
 * Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */
export class JsonSpans implements SpanWriter {
  readonly #options: SpanWriterOptions;
  #spans: string[] = [];

  constructor(options: SpanWriterOptions) {
    this.#options = options;
  }

  add(span: EndedSpan): void {
    const { context, parent, ranAt, failure } = span;
    const told = {
      ...idsOf(context),
      parentSpanId: parent?.spanId,
      flags: flagsOf(context, parent !== undefined),
      name: span.name,
      kind: span.kind,
      startTimeUnixNano: nanosOf(span.startedAt),
      endTimeUnixNano: nanosOf(span.endedAt),
      attributes: [...this.#keyValues(span.common), ...this.#keyValues(span.own)],
      events: ranAt === undefined ? [] : [{ name: runEvent, timeUnixNano: nanosOf(ranAt) }],
      links: span.links.map((link) => ({ ...idsOf(link), flags: flagsOf(link, true) })),
      droppedLinksCount: span.droppedLinks,
      status: failure ? { code: 2, message: failure.message } : { code: 0 },
    };
    this.#spans.push(JSON.stringify(told));
  }

  take(): Uint8Array {
    const { resource, version } = this.#options;
    const attributes = this.#keyValues(Object.entries(resource).flat());
    const scope = { name: 'millrace', version };
    const spans = this.#spans.join(',');
    this.#spans = [];
    return Buffer.from(
      `{"resourceSpans":[{"resource":${JSON.stringify({ attributes })},"scopeSpans":[{"scope":${JSON.stringify(scope)},"spans":[${spans}]}]}]}`,
    );
  }

  #keyValues(attributes: Attributes): object[] {
    const found: object[] = [];
    for (let index = 0; index < attributes.length; index += 2) {
      const value = attributes[index + 1] ?? '';
      found.push({
        key: attributes[index],
        value: valueOf(typeof value === 'string' ? value.slice(0, this.#options.longestValue) : value),
      });
    }
    return found;
  }
}

function idsOf({ traceId, spanId, state }: SpanContext): object {
  return { traceId, spanId, traceState: state };
}

function valueOf(value: string | number): object {
  if (typeof value === 'string') return { stringValue: value };
  return Number.isSafeInteger(value) ? { intValue: value } : { doubleValue: value };
}

function nanosOf(atMs: number): string {
  const ms = Math.floor(atMs);
  return `${ms}${String(Math.floor((atMs - ms) * 1e6)).padStart(6, '0')}`;
}
