import type * as Otel from '@opentelemetry/api';
import type { Context, Link, Span, TextMapPropagator, Tracer } from '@opentelemetry/api';
import type { BasicTracerProvider } from '@opentelemetry/sdk-trace-base';
import type { Logger } from 'pino';
import { missingPackages } from '../config/packages.ts';
import { within } from '../contracts/clock.ts';
import type { Delivery, DeliveryTrace, Verdict } from '../contracts/delivery.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Headers, Invocation } from '../contracts/invocation.ts';

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

type Environment = Readonly<Record<string, string | undefined>>;

/** Exporters by OTEL_EXPORTER_OTLP_PROTOCOL; the first one is the standard's default. */
const exporters = {
  'http/protobuf': async () => (await import('@opentelemetry/exporter-trace-otlp-proto')).OTLPTraceExporter,
  'http/json': async () => (await import('@opentelemetry/exporter-trace-otlp-http')).OTLPTraceExporter,
} as const;
const packages = [
  'api',
  'core',
  'resources',
  'sdk-trace-base',
  'exporter-trace-otlp-proto',
  'exporter-trace-otlp-http',
];
const stopMs = 3000;

/**
 * Whether the environment asks for traces: `OTEL_TRACES_EXPORTER=otlp`, or an `OTEL_EXPORTER_OTLP_ENDPOINT`.
 * Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export function asksForTraces(env: Environment): boolean {
  if (env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true') return false;
  const exporter = env['OTEL_TRACES_EXPORTER'];
  if (exporter !== undefined && exporter !== '') return exporter.split(',').includes('otlp');
  return Boolean(env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] || env['OTEL_EXPORTER_OTLP_ENDPOINT']);
}

/**
 * The tracing that the environment asks for; undefined where it asks for none, which then costs nothing. The libraries are
 * loaded only for this, and read all other OTEL_ variables themselves: endpoint, headers, sampler, limits, batches.
 * @throws MillraceError `config.invalid` when they are not installed, or the protocol is one that is not spoken.
 */
export async function tracingOf(env: Environment, logger: Logger, version: string): Promise<Tracing | undefined> {
  if (!asksForTraces(env)) return undefined;
  const protocol = env['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'] || env['OTEL_EXPORTER_OTLP_PROTOCOL'] || 'http/protobuf';
  if (!(protocol in exporters)) {
    const spoken = Object.keys(exporters).join('" or "');
    throw new MillraceError('config.invalid', `OTEL_EXPORTER_OTLP_PROTOCOL is "${protocol}": expected "${spoken}"`);
  }
  const missing = missingPackages({ packages: packages.map((name) => `@opentelemetry/${name}`) });
  if (missing !== undefined) throw new MillraceError('config.invalid', `OTEL_…: tracing ${missing}`);
  const [api, core, resources, sdk, Exporter] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/core'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/sdk-trace-base'),
    exporters[protocol as keyof typeof exporters](),
  ]);
  const tell = (message: string): void => logger.warn({ reason: message }, 'tracing');
  const quiet = (): void => undefined;
  api.diag.setLogger({ error: tell, warn: tell, info: quiet, debug: quiet, verbose: quiet }, api.DiagLogLevel.WARN);
  const named = { 'service.name': 'millrace', 'service.version': version };
  const provider = new sdk.BasicTracerProvider({
    resource: resources
      .defaultResource()
      .merge(resources.resourceFromAttributes(named))
      .merge(resources.detectResources({ detectors: [resources.envDetector] })),
    spanProcessors: [new sdk.BatchSpanProcessor(new Exporter())],
  });
  return new OtelTracing(api, new core.W3CTraceContextPropagator(), provider, provider.getTracer('millrace', version));
}

type Api = typeof Otel;
type Propagator = TextMapPropagator<Record<string, unknown>>;

class OtelTracing implements Tracing {
  readonly #api: Api;
  readonly #propagator: Propagator;
  readonly #provider: BasicTracerProvider;
  readonly #tracer: Tracer;
  /** Of deliveries that are under way, by the id of the invocation and by that of the call. */
  readonly #spans = new Map<string, Span>();

  constructor(api: Api, propagator: Propagator, provider: BasicTracerProvider, tracer: Tracer) {
    this.#api = api;
    this.#propagator = propagator;
    this.#provider = provider;
    this.#tracer = tracer;
  }

  begin(delivery: Delivery): void {
    const { invocation } = delivery;
    if (!invocation) return;
    const { context, links } = this.#origin(delivery, invocation.headers);
    const { message, request } = delivery;
    const kind = message || request.lease ? this.#api.SpanKind.CONSUMER : this.#api.SpanKind.SERVER;
    const span = this.#tracer.startSpan(
      invocation.function,
      { kind, links, attributes: attributesOf(delivery, invocation) },
      context,
    );
    const headers: Record<string, unknown> = { ...invocation.headers };
    delete headers['tracestate'];
    this.#propagator.inject(this.#api.trace.setSpan(context, span), headers, this.#api.defaultTextMapSetter);
    delivery.invocation = { ...invocation, headers: headers as Headers };
    const names = [invocation.id, invocation.callId];
    for (const name of names) this.#spans.set(name, span);
    delivery.trace = new SpanOfDelivery(span, this.#api, () => {
      for (const name of names) if (this.#spans.get(name) === span) this.#spans.delete(name);
    });
  }

  about(idOrCallId: string): { readonly trace_id: string; readonly span_id: string } | undefined {
    const context = this.#spans.get(idOrCallId)?.spanContext();
    return context && { trace_id: context.traceId, span_id: context.spanId };
  }

  async stop(): Promise<void> {
    await within(this.#provider.shutdown(), stopMs);
  }

  /** A message of several has as many origins: none of them is its parent, and all are linked. */
  #origin({ request: { joined } }: Delivery, headers: Headers): { context: Context; links: Link[] } {
    const root = this.#api.ROOT_CONTEXT;
    if (!joined) return { context: this.#extracted(headers), links: [] };
    const links = joined.flatMap((each) => {
      const context = this.#api.trace.getSpanContext(this.#extracted(each));
      return context ? [{ context }] : [];
    });
    return { context: root, links };
  }

  /** From the headers, else from the extension of CloudEvents, which says it of the event's producer. */
  #extracted(headers: Headers): Context {
    const { ROOT_CONTEXT: root } = this.#api;
    const traceparent = headers['traceparent'] ?? headers['ce-traceparent'];
    const tracestate = headers['tracestate'] ?? headers['ce-tracestate'];
    if (traceparent === undefined) return root;
    return this.#propagator.extract(root, { traceparent, tracestate }, this.#api.defaultTextMapGetter);
  }
}

class SpanOfDelivery implements DeliveryTrace {
  readonly #span: Span;
  readonly #api: Api;
  readonly #over: () => void;

  constructor(span: Span, api: Api, over: () => void) {
    this.#span = span;
    this.#api = api;
    this.#over = over;
  }

  started(): void {
    this.#span.addEvent('millrace.run');
  }

  ended(verdict: Verdict | undefined): void {
    const span = this.#span;
    span.setAttribute('millrace.verdict', verdict?.kind ?? 'unsettled');
    if (verdict?.kind === 'accepted') span.setAttribute('millrace.accepted.id', verdict.accepted.id);
    if (verdict?.kind === 'retry') span.setAttribute('millrace.retry.delay_ms', verdict.delayMs);
    if (verdict?.kind === 'dead') span.setAttribute('millrace.dead.reason', verdict.reason);
    const outcome = verdict && 'outcome' in verdict ? verdict.outcome : undefined;
    if (outcome) span.setAttribute('http.response.status_code', outcome.status);
    if (outcome?.failure !== undefined) span.setAttribute('error.type', outcome.error?.code ?? outcome.failure);
    if (!verdict || (outcome && (outcome.failure !== undefined || outcome.status >= 500))) {
      const message = outcome?.error?.message;
      span.setStatus({ code: this.#api.SpanStatusCode.ERROR, ...(message !== undefined && { message }) });
    }
    span.end();
    this.#over();
  }
}

/** Names of https://opentelemetry.io/docs/specs/semconv/ (faas, http, messaging); our own begin with `millrace.`. */
function attributesOf({ message, request, source }: Delivery, invocation: Invocation): Record<string, string | number> {
  const { headers } = invocation;
  const connector = headers['x-connector'];
  const isEvent = message !== undefined || request.lease !== undefined;
  const trigger = connector === 'cron' ? 'timer' : isEvent ? 'pubsub' : 'http';
  return {
    'faas.trigger': trigger,
    'faas.invoked_name': invocation.function,
    'faas.invocation_id': invocation.id,
    'millrace.call_id': invocation.callId,
    'millrace.source': source,
    'millrace.mode': invocation.mode,
    'millrace.attempt': invocation.attempt,
    ...(invocation.orderKey !== undefined && { 'millrace.order_key': invocation.orderKey }),
    ...(request.lease && { 'messaging.system': 'millrace', 'messaging.destination.name': source }),
    ...(message && {
      'messaging.system': String(connector),
      'messaging.destination.name': message.topic,
      'messaging.message.id': message.id,
    }),
    ...(!isEvent && { 'http.request.method': invocation.method, 'url.path': invocation.path }),
  };
}
