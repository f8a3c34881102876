import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace, TraceFlags } from '@opentelemetry/api';
import { parseTraceParent, TraceState } from '@opentelemetry/core';
import { JsonTraceSerializer, ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SamplingDecision,
  SimpleSpanProcessor,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base';
import { describe, expect, it } from 'vitest';
import { type Batch, SpanBatches } from '../../core/observe/traces/batches.ts';
import { contextOf, randomIds, traceparentOf } from '../../core/observe/traces/context.ts';
import { JsonSpans } from '../../core/observe/traces/json.ts';
import { ProtobufSpans } from '../../core/observe/traces/protobuf.ts';
import { samplerOf } from '../../core/observe/traces/sampler.ts';
import { type EndedSpan, runEvent, type SpanContext, type SpanWriter } from '../../core/observe/traces/span.ts';
import { eventually } from '../support/gateway.ts';

const traceId = 'a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5';
const remote = { traceId, spanId: '00f067aa0ba902b7', isSampled: true, state: 'a=1,b=2' };
const resource = { 'service.name': 'millrace', 'a.b': 'é' };
const options = { resource, version: '1.2.3', longestValue: Number.POSITIVE_INFINITY };
/** More than a number can hold of nanoseconds. */
const startedAt = 1_795_934_700_123.25;

/** Spans of the SDK, the one side of a comparison. */
function spansOfSdk(): readonly ReadableSpan[] {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes(resource),
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  });
  const tracer = provider.getTracer('millrace', '1.2.3');
  const parent = {
    ...remote,
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
    traceState: new TraceState(remote.state),
  };
  const begin = (name: string, context = ROOT_CONTEXT, links: object[] = []): Span =>
    tracer.startSpan(name, { kind: SpanKind.SERVER, startTime: startedAt, links: links as [] }, context);
  const texts = ['', 'x'.repeat(127), 'y'.repeat(20_000), 'ünïcödé €', '😀 z', `${'a'.repeat(300)}é`];
  const withParent = begin('of-parent', trace.setSpanContext(ROOT_CONTEXT, parent));
  for (const [index, text] of texts.entries()) withParent.setAttribute(`text.${index}`, text);
  withParent.setAttributes({ none: 0, one: 1, more: 300, most: 2 ** 53 - 1, broken: 1.5 });
  withParent.addEvent(runEvent, startedAt + 0.5);
  withParent.setStatus({ code: SpanStatusCode.ERROR, message: 'it broke' });
  withParent.end(startedAt + 2000.75);
  begin('of-none').end(startedAt);
  begin('linked', ROOT_CONTEXT, [{ context: parent }, { context: { ...parent, traceState: undefined } }]).end(
    startedAt,
  );
  return exporter.getFinishedSpans();
}

type OtelContext = ReturnType<ReadableSpan['spanContext']>;
const ours = (context: OtelContext): SpanContext => ({
  traceId: context.traceId,
  spanId: context.spanId,
  isSampled: true,
  state: context.traceState?.serialize(),
});

function endedSpan(span: ReadableSpan): EndedSpan {
  const [run] = span.events;
  const attributes = Object.entries(span.attributes).flat() as (string | number)[];
  const ms = ([seconds, nanos]: readonly [number, number]): number => seconds * 1000 + nanos / 1e6;
  return {
    context: ours(span.spanContext()),
    parent: span.parentSpanContext && ours(span.parentSpanContext),
    name: span.name,
    kind: span.kind + 1,
    startedAt: ms(span.startTime),
    ranAt: run && ms(run.time),
    endedAt: ms(span.endTime),
    links: span.links.map(({ context }) => ours(context)),
    droppedLinks: 0,
    failure: span.status.code === SpanStatusCode.ERROR ? { message: span.status.message } : undefined,
    common: attributes.slice(0, 6),
    own: attributes.slice(6),
  };
}

function written(writer: SpanWriter, spans: readonly ReadableSpan[]): Uint8Array {
  for (const span of spans) writer.add(endedSpan(span));
  return writer.take();
}

describe('spans as they are sent', () => {
  const spans = spansOfSdk();

  it('are in protobuf what the SDK writes', () => {
    const writer = new ProtobufSpans(options);
    const ofSdk = messageOf(ProtobufTraceSerializer.serializeRequest([...spans]) ?? new Uint8Array(), request);
    // Twice, since the buffer is used again.
    expect(messageOf(written(writer, spans), request)).toEqual(ofSdk);
    expect(messageOf(written(writer, spans), request)).toEqual(ofSdk);
    const others = spans.map((span) => Object.assign(Object.create(span) as ReadableSpan, { name: 'another' }));
    expect(messageOf(written(writer, others), request)).not.toEqual(ofSdk);
  });

  it('have their own attributes, however many sets of common ones there are', () => {
    const writer = new ProtobufSpans(options);
    const [one] = spans.map(endedSpan);
    if (!one) throw new Error('there is no span');
    // More than are remembered, each of them again when it has long been forgotten.
    const statuses = Array.from({ length: 120 }, (_, index) => 200 + (index % 40));
    const told = statuses.map((status) => ({ ...one, common: ['status', status], own: ['own', status] }));
    const written = told.map((each) => {
      writer.add(each);
      return Buffer.from(writer.take());
    });
    const anew = told.map((each) => {
      const fresh = new ProtobufSpans(options);
      fresh.add(each);
      return Buffer.from(fresh.take());
    });
    expect(written).toEqual(anew);
    expect(new Set(written.map((each) => each.toString('hex'))).size).toBe(40);
  });

  it('are in JSON what the SDK writes', () => {
    const ofSdk = JSON.parse(Buffer.from(JsonTraceSerializer.serializeRequest([...spans]) ?? []).toString()) as object;
    const found = JSON.parse(Buffer.from(written(new JsonSpans(options), spans)).toString()) as object;
    expect(withoutEmpty(found)).toEqual(withoutEmpty(ofSdk));
  });

  it('have no value that is longer than asked for', () => {
    for (const writer of [
      new ProtobufSpans({ ...options, longestValue: 3 }),
      new JsonSpans({ ...options, longestValue: 3 }),
    ]) {
      const text = Buffer.from(written(writer, spans)).toString();
      expect(text).toContain('yyy');
      expect(text).not.toContain('yyyy');
    }
  });
});

/** Of messages: which fields are messages, by number. All other fields are kept as their bytes. */
interface Schema {
  readonly [field: number]: Schema;
}
const value: Schema = {};
const keyValue: Schema = { 2: value };
const span: Schema = { 9: keyValue, 11: {}, 13: {}, 15: {} };
const request: Schema = { 1: { 1: { 1: keyValue }, 2: { 1: {}, 2: span } } };

/** What a protobuf message says, in whatever order; zeros are the same as nothing, except in a value. */
function messageOf(bytes: Uint8Array, schema: Schema): unknown {
  const said: [number, unknown][] = [];
  let at = 0;
  const number = (): bigint => {
    for (let shift = 0n, sum = 0n; ; shift += 7n) {
      const byte = BigInt(bytes[at++] ?? 0);
      sum |= (byte & 127n) << shift;
      if (byte < 128n) return sum;
    }
  };
  const take = (length: number): Uint8Array => bytes.subarray(at, (at += length));
  while (at < bytes.length) {
    const tag = Number(number());
    const [field, type] = [tag >> 3, tag & 7];
    if (type === 0) {
      const found = number();
      if (found !== 0n || schema === value) said.push([field, found]);
    } else {
      const part = take(type === 1 ? 8 : type === 5 ? 4 : Number(number()));
      const inner = schema[field];
      const found = inner ? messageOf(part, inner) : Buffer.from(part).toString('hex');
      if (!Array.isArray(found) || found.length > 0 || inner === value) said.push([field, found]);
    }
  }
  if (at !== bytes.length) throw new Error('a field goes past the end of its message');
  return said.map((each) => [each[0], each[1]]).toSorted((one, other) => (show(one) < show(other) ? -1 : 1));
}

function show(found: unknown): string {
  return JSON.stringify(found, (_key, each: unknown) => (typeof each === 'bigint' ? String(each) : each));
}

/** Without the empty lists and the counts of what was dropped, all of them 0, that the SDK also writes. */
function withoutEmpty(found: object): unknown {
  return JSON.parse(JSON.stringify(found), (key, each: unknown) =>
    /^dropped(Attributes|Events)Count$/.test(key) || (Array.isArray(each) && each.length === 0) ? undefined : each,
  );
}

describe('the context of a trace', () => {
  const parsers = { parseTraceParent, TraceState };

  it('is read from the headers, else from those of CloudEvents, and written again', () => {
    const traceparent = `00-${traceId}-${remote.spanId}-01`;
    const found = contextOf({ traceparent, tracestate: 'a=1,b=2' }, parsers);
    expect(found).toEqual(remote);
    expect(found && traceparentOf(found)).toBe(traceparent);
    expect(contextOf({ 'ce-traceparent': traceparent.replace(/1$/, '0') }, parsers)?.isSampled).toBe(false);
    for (const wrong of ['rubbish', `00-${'0'.repeat(32)}-${remote.spanId}-01`, `${traceparent}-more`])
      expect(contextOf({ traceparent: wrong, tracestate: 'a=1' }, parsers)).toBeUndefined();
  });

  it('has ids that do not come twice', () => {
    const ids = Array.from({ length: 5000 }, randomIds);
    expect(new Set(ids).size).toBe(5000);
    expect(ids.every((id) => /^[\da-f]{48}$/.test(id))).toBe(true);
  });
});

describe('which traces are kept', () => {
  const told: string[] = [];
  const keeps = (name: string | undefined, argument?: string) =>
    samplerOf({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: argument }, (message) => told.push(message));

  it('is what the sampler says, and the parent where it is asked', () => {
    const dropped = { ...remote, isSampled: false };
    const decisions = ['always_on', 'always_off', 'parentbased_always_on', 'parentbased_always_off', undefined].map(
      (name) => [undefined, remote, dropped].map((parent) => keeps(name)(traceId, parent)),
    );
    expect(decisions).toEqual([
      [true, true, true],
      [false, false, false],
      [true, true, false],
      [false, true, false],
      [true, true, false],
    ]);
    expect(told).toEqual([]);
  });

  it.each([0, 0.1, 0.5, 1])('is by the id as the SDK has it, at a ratio of %s', (ratio) => {
    const sdk = new TraceIdRatioBasedSampler(ratio);
    const sampler = keeps('traceidratio', String(ratio));
    const ids = Array.from({ length: 2000 }, () => randomIds().slice(0, 32));
    const kept = ids.filter((id) => sampler(id, undefined));
    expect(kept).toEqual(
      ids.filter((id) => sdk.shouldSample(ROOT_CONTEXT, id).decision === SamplingDecision.RECORD_AND_SAMPLED),
    );
    expect(kept.length / ids.length).toBeCloseTo(ratio, 0.5);
  });

  it('is all of them where the variables make no sense, which is told', () => {
    expect(keeps('sometimes')(traceId, undefined)).toBe(true);
    expect(keeps('traceidratio', '2')(traceId, undefined)).toBe(true);
    expect(told).toEqual([
      'OTEL_TRACES_SAMPLER is "sometimes", which is not known: parentbased_always_on is used',
      'OTEL_TRACES_SAMPLER_ARG is "2": expected a number from 0 to 1; 1 is used',
    ]);
  });
});

describe('batches', () => {
  const [one] = spansOfSdk().map(endedSpan);
  if (!one) throw new Error('there is no span');

  it('go one at a time; what does not fit is dropped and told, what fails is told', async () => {
    const told: string[] = [];
    const sent: { batch: Batch; end: (error?: Error) => void }[] = [];
    const send = (batch: Batch): Promise<void> =>
      new Promise((resolve, reject) => sent.push({ batch, end: (error) => (error ? reject(error) : resolve()) }));
    const batches = new SpanBatches(
      new ProtobufSpans(options),
      { delayMs: 60_000, queue: 5, batch: 2 },
      send,
      (message) => told.push(message),
    );
    for (let count = 0; count < 10; count++) batches.add(one);
    expect(sent.map(({ batch }) => batch.count)).toEqual([2]);
    sent[0]?.end(new Error('gone'));
    await eventually(() => sent[1]);
    sent[1]?.end();
    await eventually(() => sent[2]);
    const stopping = batches.stop();
    sent[2]?.end();
    await eventually(() => sent[3]);
    sent[3]?.end();
    await stopping;
    // 2 were being sent and 5 waited.
    expect(sent.map(({ batch }) => batch.count)).toEqual([2, 2, 2, 1]);
    expect(told).toEqual([
      '2 spans could not be sent: Error: gone',
      '3 spans were dropped: more ended than the collector took (OTEL_BSP_MAX_QUEUE_SIZE)',
    ]);
  });

  it('go after a while although they are not full', async () => {
    const counts: number[] = [];
    const send = async ({ count }: Batch): Promise<void> => void counts.push(count);
    const batches = new SpanBatches(new JsonSpans(options), { delayMs: 5, queue: 5, batch: 5 }, send, () => undefined);
    batches.add(one);
    expect(counts).toEqual([]);
    expect(await eventually(() => counts[0])).toBe(1);
  });
});
