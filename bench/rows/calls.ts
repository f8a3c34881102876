import { setTimeout as wait } from 'node:timers/promises';
import { echoModule, startGateway } from '../gateway.ts';
import { compare, load, rssMb, startProgram, startSubject, type Subject } from '../measure.ts';
import { type Bench, compared, type Figure, type Row } from './row.ts';

/** Until V8 has given back what the start has left; what else it does about that takes CPU, which the idle row waits for. */
const settleMs = 45_000;
const body = Buffer.alloc(1024, 'e');
const inlineEcho = `  echo: { module: ${echoModule}, isolation: none, invoke: { concurrency: 200 } }`;
const pooledEcho = `  echo: { module: ${echoModule}, pool: { min: 1, max: 1 }, invoke: { concurrency: 64, waiting: 200 } }`;

function moreMemory(what: string, [ours, peer]: readonly [Subject, Subject], mostMb: number): Figure {
  const [many, one] = [rssMb(ours.pid), rssMb(peer.pid)];
  const figure = `+${(many - one).toFixed(0)} MB: ${many.toFixed(0)} against ${one.toFixed(0)}`;
  return { what, figure, bar: `≤ +${mostMb} MB`, met: many - one <= mostMb };
}

/** CPU of calls through a gateway next to another server that is called alike. */
async function calls(
  { turnMs, pairs }: Bench,
  what: string,
  [ours, peer]: readonly [Subject, Subject],
  most: number,
): Promise<Figure> {
  const result = await compare(
    () => load(ours, '/function/echo', body, 200, turnMs),
    () => load(peer, '/function/echo', body, 200, turnMs),
    pairs,
  );
  for (const subject of [ours, peer]) await subject.stop();
  return compared(what, result, `≤ ${most} ×`, most);
}

export const inline: Row = {
  name: 'inline',
  measure: async (bench) => {
    const ours = await startGateway(bench.home, 'inline', { functions: inlineEcho });
    const peer = await startSubject(['bench/servers/fastify-inline.ts']);
    return [await calls(bench, 'inline function, against a bare fastify route', [ours, peer], 1.3)];
  },
};

export const pooled: Row = {
  name: 'pooled',
  measure: async (bench) => {
    const ours = await startGateway(bench.home, 'pooled', { functions: pooledEcho });
    const peer = await startSubject(['bench/servers/fastify-piscina.ts']);
    const what = 'pooled function (1 thread), against fastify + piscina (1 thread)';
    return [await calls(bench, what, [ours, peer], 1.1)];
  },
};

export const functions: Row = {
  name: 'functions',
  measure: async (bench) => {
    const many = Array.from({ length: 9999 }, (_, index) => `  f${index}: { module: ${echoModule} }`).join('\n');
    const ours = await startGateway(bench.home, 'many', { functions: `${inlineEcho}\n${many}` });
    const peer = await startGateway(bench.home, 'one', { functions: inlineEcho });
    // Before any call.
    await wait(settleMs);
    const memory = moreMemory('RSS of 10,000 functions, more than one function only', [ours, peer], 60);
    return [await calls(bench, 'inline function of 10,000, against the only one', [ours, peer], 1.05), memory];
  },
};

/** Log lines of each call, metrics that are scraped each second, and traces of all calls to a collector. */
export const observed: Row = {
  name: 'observed',
  measure: async (bench) => {
    const collector = await startProgram([process.execPath, 'bench/servers/collector.ts'], 1);
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
    const ours = await startGateway(bench.home, 'observed', { functions: inlineEcho, env });
    const peer = await startGateway(bench.home, 'unobserved', { functions: inlineEcho });
    const scraping = setInterval(() => {
      // Its answer is of no interest, and a scrape that is late is no reason to void the run.
      void fetch(`${ours.management}/metrics`).then(
        (answer) => answer.text(),
        () => undefined,
      );
    }, 1000);
    const figure = await calls(
      bench,
      'inline function with traces and metrics, against the same without',
      [ours, peer],
      1.15,
    );
    clearInterval(scraping);
    await collector.stop();
    return [figure];
  },
};
