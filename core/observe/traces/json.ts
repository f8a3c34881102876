import { type AttributeSink, type EndedSpan, flagsOf, runEvent, type SpanContext } from './span.ts';
import type { SpanWriter, SpanWriterOptions } from './span.ts';

/**
 * Spans as OTLP's JSON, for collectors that take nothing else.
 * Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */
export class JsonSpans implements SpanWriter, AttributeSink {
  readonly #options: SpanWriterOptions;
  #attributes: object[] = [];
  #spans: string[] = [];

  constructor(options: SpanWriterOptions) {
    this.#options = options;
  }

  add(span: EndedSpan): void {
    const { context, parent, ranAt, failure } = span;
    span.attributesTo(this);
    const told = {
      ...idsOf(context),
      parentSpanId: parent?.spanId,
      flags: flagsOf(context, parent !== undefined),
      name: span.name,
      kind: span.kind,
      startTimeUnixNano: nanosOf(span.startedAt),
      endTimeUnixNano: nanosOf(span.endedAt),
      attributes: this.#attributes,
      events: ranAt === undefined ? [] : [{ name: runEvent, timeUnixNano: nanosOf(ranAt) }],
      links: span.links.map((link) => ({ ...idsOf(link), flags: flagsOf(link, true) })),
      droppedLinksCount: span.droppedLinks,
      status: failure ? { code: 2, message: failure.message } : { code: 0 },
    };
    this.#attributes = [];
    this.#spans.push(JSON.stringify(told));
  }

  attribute(name: string, value: string | number): void {
    this.#attributes.push(
      keyValue(name, typeof value === 'string' ? value.slice(0, this.#options.longestValue) : value),
    );
  }

  take(): Uint8Array {
    const { resource, version } = this.#options;
    const attributes = Object.entries(resource).map(([name, value]) => keyValue(name, value));
    const scope = { name: 'millrace', version };
    const spans = this.#spans.join(',');
    this.#spans = [];
    return Buffer.from(
      `{"resourceSpans":[{"resource":${JSON.stringify({ attributes })},"scopeSpans":[{"scope":${JSON.stringify(scope)},"spans":[${spans}]}]}]}`,
    );
  }
}

function idsOf({ traceId, spanId, state }: SpanContext): object {
  return { traceId, spanId, traceState: state };
}

function keyValue(key: string, value: string | number): object {
  if (typeof value === 'string') return { key, value: { stringValue: value } };
  return { key, value: Number.isSafeInteger(value) ? { intValue: value } : { doubleValue: value } };
}

function nanosOf(atMs: number): string {
  const ms = Math.floor(atMs);
  return `${ms}${String(Math.floor((atMs - ms) * 1e6)).padStart(6, '0')}`;
}
