import type { Logger } from 'pino';
import { missingPackages } from '../config/packages.ts';
import type { Environment } from '../config/tree.ts';
import { systemClock, within } from '../contracts/clock.ts';
import type { Delivery, DeliveryTrace, Linked, Verdict } from '../contracts/delivery.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Invocation, Outcome } from '../contracts/invocation.ts';
import { Ring, unlink } from '../kit/ring.ts';
import { type Batch, SpanBatches } from './traces/batches.ts';
import { type ContextParsers, contextOf, randomIds, traceparentOf } from './traces/context.ts';
import { JsonSpans } from './traces/json.ts';
import { ProtobufSpans } from './traces/protobuf.ts';
import { type Sampler, samplerOf } from './traces/sampler.ts';
import { type Attributes, type EndedSpan, type SpanContext, spanKinds } from './traces/span.ts';

/**
 * One trace over everything that an event leads to: its producer's, the delivery, the queue, each attempt, callbacks, replies
 * and what follows. Each delivery is a span. Its context replaces that in the headers of its invocation (W3C `traceparent`),
 * which whatever comes after it carries on, by whichever broker and queue.
 */
export interface Tracing {
  /** Begins the span of a delivery that has been analyzed. */
  begin(delivery: Delivery): void;
  /** What a log line that names this invocation or call tells of its trace; nothing of one that is over. */
  about(idOrCallId: string): { readonly trace_id: string; readonly span_id: string } | undefined;
  /** Exports what has ended, for `stopMs` at most. */
  stop(): Promise<void>;
}

/** By OTEL_EXPORTER_OTLP_PROTOCOL; the first one is the standard's default. */
const protocols = {
  'http/protobuf': {
    Spans: ProtobufSpans,
    serializer: 'ProtobufTraceSerializer',
    contentType: 'application/x-protobuf',
  },
  'http/json': { Spans: JsonSpans, serializer: 'JsonTraceSerializer', contentType: 'application/json' },
} as const;
type Encoding = Omit<(typeof protocols)[keyof typeof protocols], 'Spans'>;
const packages = ['api', 'core', 'resources', 'otlp-exporter-base', 'otlp-transformer'];
const stopMs = 3000;

/**
 * The tracing that the environment asks for. The libraries of OpenTelemetry know who we are and how a collector is reached, by
 * the OTEL_ variables for that. Spans are made and written here, since those of its SDK cost about twice as much.
 * @throws MillraceError `config.invalid` when they are not installed, or the protocol is one that is not spoken.
 */
export async function createTracing(env: Environment, logger: Logger, version: string): Promise<Tracing> {
  const protocol = env['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'] || env['OTEL_EXPORTER_OTLP_PROTOCOL'] || 'http/protobuf';
  if (!(protocol in protocols)) {
    const spoken = Object.keys(protocols).join('" or "');
    throw new MillraceError('config.invalid', `OTEL_EXPORTER_OTLP_PROTOCOL is "${protocol}": expected "${spoken}"`);
  }
  const missing = missingPackages({ packages: packages.map((name) => `@opentelemetry/${name}`) });
  if (missing !== undefined) throw new MillraceError('config.invalid', `OTEL_…: tracing ${missing}`);
  const [api, core] = await Promise.all([import('@opentelemetry/api'), import('@opentelemetry/core')]);
  const tell = (message: string): void => logger.warn({ reason: message }, 'tracing');
  const quiet = (): void => undefined;
  api.diag.setLogger({ error: tell, warn: tell, info: quiet, debug: quiet, verbose: quiet }, api.DiagLogLevel.WARN);
  const { Spans, ...encoding } = protocols[protocol as keyof typeof protocols];
  const number = (name: string, standard: number): number => wholeOf(env, name, standard, tell);
  const queue = number('OTEL_BSP_MAX_QUEUE_SIZE', 2048);
  const limits = {
    delayMs: number('OTEL_BSP_SCHEDULE_DELAY', 5000),
    queue,
    batch: Math.min(number('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 512), queue),
  };
  const longestValue = number(
    'OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT',
    number('OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT', Number.POSITIVE_INFINITY),
  );
  const writer = new Spans({ resource: await resourceOf(version), version, longestValue });
  const batches = new SpanBatches(writer, limits, await senderOf(encoding), tell);
  return new DeliveryTracing(core, samplerOf(env, tell), number('OTEL_SPAN_LINK_COUNT_LIMIT', 128), batches);
}

/** Who we are, by OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES. */
async function resourceOf(version: string): Promise<Record<string, string>> {
  const { defaultResource, detectResources, envDetector, resourceFromAttributes } =
    await import('@opentelemetry/resources');
  const { attributes } = defaultResource()
    .merge(
      resourceFromAttributes({
        'service.name': 'millrace',
        'service.version': version,
        'telemetry.sdk.name': 'millrace', // The spans are ours, and not of its SDK.
        'telemetry.sdk.version': version,
      }),
    )
    .merge(detectResources({ detectors: [envDetector] }));
  return attributes as Record<string, string>;
}

/** Sends to the collector that OTEL_EXPORTER_OTLP_… name, and tries again what it says is to be tried again. */
async function senderOf({ serializer, contentType }: Encoding): Promise<(batch: Batch) => Promise<void>> {
  const [{ convertLegacyHttpOptions, createOtlpHttpExportDelegate }, { [serializer]: reader }] = await Promise.all([
    import('@opentelemetry/otlp-exporter-base/node-http'),
    import('@opentelemetry/otlp-transformer'),
  ]);
  const exporter = createOtlpHttpExportDelegate(
    convertLegacyHttpOptions({}, 'TRACES', 'v1/traces', { 'Content-Type': contentType }),
    {
      serializeRequest: ({ request }: Batch) => request,
      deserializeResponse: (data) => reader.deserializeResponse(data),
    },
    'otlp_http_span_exporter',
    { name: 'span', countItems: ({ count }: Batch) => count },
    undefined,
  );
  return (batch) =>
    new Promise((resolve, reject) => {
      exporter.export(batch, ({ error }) => (error ? reject(error) : resolve()));
    });
}

/** A whole number; what is none is told, and then as if it were not there. */
function wholeOf(env: Environment, name: string, standard: number, tell: (message: string) => void): number {
  const text = env[name];
  if (text === undefined || text === '') return standard;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  tell(`${name} is "${text}": expected a whole number; ${standard} is used`);
  return standard;
}

class DeliveryTracing implements Tracing {
  readonly #parsers: ContextParsers;
  readonly #isKept: Sampler;
  readonly #mostLinks: number;
  readonly #batches: SpanBatches;
  /** Of deliveries that are under way. To look through them for a line is cheaper than to keep a Map for all of them. */
  readonly #spans = new Ring<DeliverySpan>();

  constructor(parsers: ContextParsers, isKept: Sampler, mostLinks: number, batches: SpanBatches) {
    this.#parsers = parsers;
    this.#isKept = isKept;
    this.#mostLinks = mostLinks;
    this.#batches = batches;
  }

  begin(delivery: Delivery): void {
    const { invocation, request } = delivery;
    if (!invocation) return;
    const { joined } = request;
    // A message of several has as many origins: none of them is its parent, and all are linked.
    const parent = joined ? undefined : contextOf(invocation.headers, this.#parsers);
    const links = joined?.flatMap((headers) => contextOf(headers, this.#parsers) ?? []) ?? [];
    const ids = randomIds();
    const traceId = parent?.traceId ?? ids.slice(0, 32);
    const isSampled = this.#isKept(traceId, parent);
    const context = { traceId, spanId: ids.slice(32), isSampled, state: parent?.state };
    const span = new DeliverySpan(delivery, invocation, context, parent, links, this.#mostLinks, this.#ended);
    delivery.invocation = carrying(delivery, invocation, context);
    this.#spans.add(span);
    delivery.trace = span;
  }

  about(idOrCallId: string): { readonly trace_id: string; readonly span_id: string } | undefined {
    const span = this.#spans.last(({ invocation: { id, callId } }) => id === idOrCallId || callId === idOrCallId);
    return span && { trace_id: span.context.traceId, span_id: span.context.spanId };
  }

  async stop(): Promise<void> {
    await within(this.#batches.stop(), stopMs);
  }

  readonly #ended = (span: DeliverySpan): void => {
    unlink(span);
    if (span.context.isSampled) this.#batches.add(span);
  };
}

/** The invocation with the span in its headers, in place of its parent. */
function carrying(delivery: Delivery, invocation: Invocation, context: SpanContext): Invocation {
  // A message and a lease come again with the headers that they had, and then have the same parent.
  const isOurs = !isEvent(delivery);
  const headers = isOurs ? delivery.request.headers : { ...invocation.headers };
  headers['traceparent'] = traceparentOf(context);
  if (context.state !== undefined) headers['tracestate'] = context.state;
  else if (headers['tracestate'] !== undefined) delete headers['tracestate'];
  return isOurs ? invocation : { ...invocation, headers };
}

class DeliverySpan implements DeliveryTrace, EndedSpan, Linked {
  previous: Linked['previous'] = undefined;
  next: Linked['next'] = undefined;
  readonly invocation: Invocation;
  readonly context: SpanContext;
  readonly parent: SpanContext | undefined;
  readonly kind: number;
  readonly links: readonly SpanContext[];
  readonly droppedLinks: number;
  readonly startedAt = systemClock.now();
  ranAt: number | undefined = undefined;
  endedAt = 0;
  failure: EndedSpan['failure'] = undefined;
  readonly #delivery: Delivery;
  readonly #startedAt = systemClock.monotonic();
  readonly #over: (span: DeliverySpan) => void;
  #verdict: Verdict | undefined = undefined;

  constructor(
    delivery: Delivery,
    invocation: Invocation,
    context: SpanContext,
    parent: SpanContext | undefined,
    links: readonly SpanContext[],
    mostLinks: number,
    over: (span: DeliverySpan) => void,
  ) {
    this.#delivery = delivery;
    this.invocation = invocation;
    this.context = context;
    this.parent = parent;
    this.kind = isEvent(delivery) ? spanKinds.consumer : spanKinds.server;
    this.links = links.length > mostLinks ? links.slice(0, mostLinks) : links;
    this.droppedLinks = links.length - this.links.length;
    this.#over = over;
  }

  get name(): string {
    return this.invocation.function;
  }

  started(): void {
    this.ranAt = this.#now();
  }

  ended(verdict: Verdict | undefined): void {
    this.endedAt = this.#now();
    this.#verdict = verdict;
    const outcome = outcomeOf(verdict);
    if (!verdict || (outcome && (outcome.failure !== undefined || outcome.status >= 500)))
      this.failure = { message: outcome?.error?.message };
    this.#over(this);
  }

  get common(): Attributes {
    return commonAttributes(this.#delivery, this.invocation, this.#verdict);
  }

  get own(): Attributes {
    return ownAttributes(this.#delivery, this.invocation, this.#verdict);
  }

  /** Of the wall clock, whatever it jumps meanwhile. */
  #now(): number {
    return this.startedAt + systemClock.monotonic() - this.#startedAt;
  }
}

function isEvent({ message, request }: Delivery): boolean {
  return message !== undefined || request.lease !== undefined;
}

function outcomeOf(verdict: Verdict | undefined): Outcome | undefined {
  return verdict && 'outcome' in verdict ? verdict.outcome : undefined;
}

/**
 * Attributes with few values each, whatever is called: names of https://opentelemetry.io/docs/specs/semconv/ (faas, http,
 * messaging); our own begin with `millrace.`.
 */
function commonAttributes(delivery: Delivery, invocation: Invocation, verdict: Verdict | undefined): Attributes {
  const { message, request, source } = delivery;
  const connector = invocation.headers['x-connector'];
  const isOfEvent = isEvent(delivery);
  const trigger = connector === 'cron' ? 'timer' : isOfEvent ? 'pubsub' : 'http';
  const found: (string | number)[] = ['faas.trigger', trigger, 'millrace.source', source];
  found.push('millrace.mode', invocation.mode, 'millrace.attempt', invocation.attempt);
  if (message) found.push('messaging.system', String(connector));
  else if (request.lease) found.push('messaging.system', 'millrace', 'messaging.destination.name', source);
  else found.push('http.request.method', invocation.method);
  found.push('millrace.verdict', verdict?.kind ?? 'unsettled');
  if (verdict?.kind === 'dead') found.push('millrace.dead.reason', verdict.reason);
  const outcome = outcomeOf(verdict);
  if (outcome) found.push('http.response.status_code', outcome.status);
  if (outcome?.failure !== undefined) found.push('error.type', outcome.error?.code ?? outcome.failure);
  return found;
}

/** Attributes with as many values as there are functions, calls or callers. */
function ownAttributes(
  { message, request }: Delivery,
  invocation: Invocation,
  verdict: Verdict | undefined,
): Attributes {
  const { id, callId, function: name, orderKey, path } = invocation;
  const found: (string | number)[] = ['faas.invoked_name', name, 'faas.invocation_id', id, 'millrace.call_id', callId];
  if (orderKey !== undefined) found.push('millrace.order_key', orderKey);
  if (message) found.push('messaging.destination.name', message.topic, 'messaging.message.id', message.id);
  else if (!request.lease) found.push('url.path', path);
  if (verdict?.kind === 'accepted') found.push('millrace.accepted.id', verdict.accepted.id);
  if (verdict?.kind === 'retry') found.push('millrace.retry.delay_ms', verdict.delayMs);
  return found;
}
