import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, headers as natsHeaders } from 'nats';
import { afterEach, describe, expect, it } from 'vitest';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';
import { eventually, testGateway } from '../support/gateway.ts';
import { ranHeaders } from '../support/plugins/inline.ts';
import { describeWithBroker } from '../support/with-broker.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

interface Span {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly status: { readonly code: number };
  readonly links: readonly { readonly spanId: string }[];
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
}
const [server, consumer] = [2, 5];

interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Keeps what is POSTed to it. */
async function listener(): Promise<{ readonly url: string; readonly received: Received[]; readonly server: Server }> {
  const received: Received[] = [];
  const listening = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')));
    request.on('end', () => {
      received.push({ headers: request.headers, body });
      response.end('{}');
    });
  }).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  cleanups.push(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return { url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}`, received, server: listening };
}

async function collector(): Promise<{ readonly url: string; readonly spans: () => Span[] }> {
  const { url, received } = await listener();
  return {
    url,
    spans: () =>
      received.flatMap(({ body }) =>
        (JSON.parse(body) as { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] }).resourceSpans.flatMap(
          ({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans),
        ),
      ),
  };
}

const code = `
export default async (event, context) => {
  context.log.info('at work');
  if (event.path === '/flaky' && context.attempt === 1) throw new Error('not yet');
  return event.headers.traceparent;
};`;

async function gateway(endpoint: string, more = '', env: Record<string, string> = {}): Promise<GatewayProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-tracing-'));
  const [file, module] = [join(folder, 'millrace.yaml'), join(folder, 'traced.ts')];
  writeFileSync(module, code);
  writeFileSync(
    file,
    `
gateway: { listen: { port: 0 }, management: { port: 0 }, callbacks: { allow: [127.0.0.1] } }
policies: { retry: { soon: { attempts: 3, backoff: { kind: fixed, initial: 10ms, jitter: none } } } }
queues: { default: { kind: sqlite, path: "${folder}/queue.db" } }
stores: { default: { kind: memory } }
functions: { traced: { module: "${module}", isolation: none, invoke: { retry: soon } } }
${more}`,
  );
  const exporting = {
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '50',
    ...env,
  };
  const running = await startGateway(file, exporting);
  cleanups.push(() => stopGateway(running));
  return running;
}

const attribute = (span: Span | undefined, key: string): unknown =>
  Object.values(span?.attributes.find((each) => each.key === key)?.value ?? {})[0];
const traceId = 'a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5';
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;

describe('one trace', () => {
  it('goes from a caller over the queue and its retries to the function and its callback', async () => {
    const { url, spans } = await collector();
    const sink = await listener();
    const running = await gateway(url);
    const accepted = await fetch(`${running.url}/async-function/traced/flaky`, {
      method: 'POST',
      headers: { traceparent, 'x-callback-url': `${sink.url}/done` },
    });
    expect(accepted.status).toBe(202);
    const [callback] = await eventually(() => (sink.received.length > 0 ? sink.received : undefined));
    const all = await eventually(() => (spans().length >= 4 ? spans() : undefined));
    expect(new Set(all.map((span) => span.traceId))).toEqual(new Set([traceId]));
    const [accept, first, second, callbackSpan, ...others] = all.toSorted((one, other) => order(one) - order(other));
    expect(others).toEqual([]);
    expect([accept?.kind, accept?.parentSpanId]).toEqual([server, '00f067aa0ba902b7']);
    expect(attribute(accept, 'millrace.verdict')).toBe('accepted');
    expect([first, second].map((span) => [span?.kind, span?.parentSpanId, span?.status.code])).toEqual([
      [consumer, accept?.spanId, 2],
      [consumer, accept?.spanId, 0],
    ]);
    expect([first, second].map((span) => attribute(span, 'millrace.verdict'))).toEqual(['retry', 'done']);
    expect(callbackSpan?.parentSpanId).toBe(second?.spanId);
    // What the function was told is what it answered.
    expect(callback?.body).toBe(`00-${traceId}-${second?.spanId}-01`);
    expect(callback?.headers['traceparent']).toBe(`00-${traceId}-${callbackSpan?.spanId}-01`);
    const lines = running.log
      .filter((line) => line.includes('at work') && line.startsWith('{'))
      .map((line) => JSON.parse(line) as object);
    expect(lines).toMatchObject([
      { trace_id: traceId, span_id: first?.spanId },
      { trace_id: traceId, span_id: second?.spanId },
    ]);
  });

  it('is begun for a caller who has none, and a batch is linked to that of each of its messages', async () => {
    const { url, spans } = await collector();
    const plugin = join(import.meta.dirname, '../support/plugins/messages.ts');
    const running = await gateway(
      url,
      `plugins: ["${plugin}"]
connectors:
  http: { kind: http }
  bus: { kind: messages-test, function: traced, batch: { size: 2, window: 20s } }`,
    );
    const give = (parent: string): Promise<unknown> =>
      fetch(`${running.url}/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ topic: 't', body: 'x', headers: { traceparent: parent } }),
      });
    await Promise.all([give(traceparent), give(`00-${traceId}-1111111111111111-01`)]);
    const [batch] = await eventually(() => (spans().length > 0 ? spans() : undefined));
    expect(batch?.links.map(({ spanId }) => spanId).toSorted()).toEqual(['00f067aa0ba902b7', '1111111111111111']);
    expect(batch?.parentSpanId ?? '').toBe('');
    const answer = await (
      await fetch(`${running.url}/function/traced`, { headers: { traceparent: 'rubbish' } })
    ).text();
    expect(answer).toMatch(/^00-[\da-f]{32}-[\da-f]{16}-01$/);
  });

  it('is sent as protobuf where nothing else is said, and a collector that is away hurts nobody', async () => {
    const { url, received, server: listening } = await listener();
    const running = await gateway(url, '', { OTEL_EXPORTER_OTLP_PROTOCOL: '' });
    await fetch(`${running.url}/function/traced`);
    const [first] = await eventually(() => (received.length > 0 ? received : undefined));
    expect(first?.headers['content-type']).toBe('application/x-protobuf');
    expect(first?.body).toContain('traced.openfaas-fn');
    listening.closeAllConnections();
    listening.close();
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => (await fetch(`${running.url}/function/traced`)).status),
    );
    expect(new Set(answers)).toEqual(new Set([200]));
    expect(await stopGateway(running)).toBe(0);
  });
});

describe('without a word in the environment', () => {
  it('what the caller says of his trace is passed on as it is', async () => {
    ranHeaders.length = 0;
    await using running = await testGateway('functions: { seen: { behaviour: scripted } }');
    await fetch(`${running.url}/function/seen`, { headers: { traceparent, tracestate: 'a=1' } });
    expect(ranHeaders).toMatchObject([{ traceparent, tracestate: 'a=1' }]);
  });

  it('none of the libraries is loaded', async () => {
    const running = await gateway('', '', { OTEL_EXPORTER_OTLP_ENDPOINT: '' });
    const answer = await (await fetch(`${running.url}/function/traced`)).text();
    expect(answer).not.toMatch(/^00-/);
  });
});

it('a protocol that is not spoken refuses the start', async () => {
  const starting = gateway('http://127.0.0.1:1', '', { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' });
  await expect(starting).rejects.toThrow(
    /ended with 2 .*OTEL_EXPORTER_OTLP_PROTOCOL is "grpc": expected "http\/protobuf" or "http\/json"/s,
  );
});

await describeWithBroker('nats', 'a trace over a broker', (natsUrl) => {
  it('comes from the message and goes into the reply', async () => {
    const { url, spans } = await collector();
    await gateway(
      url,
      `connections: { main: { kind: nats, servers: "${natsUrl}" } }
connectors:
  http: { kind: http }
  bus: { kind: nats, connection: main, subjects: [traced.in], delivery: at-most-once, function: traced }`,
    );
    const client = await connect({ servers: natsUrl });
    cleanups.push(() => client.close());
    const headers = natsHeaders();
    headers.set('traceparent', traceparent);
    const reply = await eventually(() =>
      client.request('traced.in', '', { headers, timeout: 2000 }).catch(() => undefined),
    );
    const span = await eventually(() => spans().find(({ parentSpanId }) => parentSpanId === '00f067aa0ba902b7'));
    expect([span.kind, span.traceId, attribute(span, 'messaging.system')]).toEqual([consumer, traceId, 'nats']);
    expect(attribute(span, 'messaging.destination.name')).toBe('traced.in');
    expect(reply.string()).toBe(`00-${traceId}-${span.spanId}-01`);
  });
});

/** Accepted, attempts, callback. */
function order(span: Span): number {
  if (span.kind === server) return 0;
  return span.name.startsWith('callback.') ? 99 : Number(attribute(span, 'millrace.attempt'));
}
