import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Pool } from 'undici';
import { version } from '../core/version.ts';
import { compare, cpuMs, floors, load, median, openLoad, startSubject, type Subject } from './measure.ts';
import { measurePipeline } from './pipeline.ts';

// `npm run bench [-- --smoke]`: measures, prints, and writes docs/benchmarks.md. Ratios come from alternating blocks of
// one run; a bar is met if their median meets it. The load generator runs on core 1, what is measured on core 0.
const smoke = process.argv.includes('--smoke');
const blockMs = smoke ? 1500 : 6000;
const pairs = smoke ? 2 : 6;
const drained = smoke ? 10_000 : 100_000;
const root = join(import.meta.dirname, '..');
const rows: string[][] = [];
const home = mkdtempSync(join(root, '.bench-')); // On the disk of the sources: a queue in memory would prove nothing.

execFileSync('taskset', ['-cp', '1', String(process.pid)], { stdio: 'ignore' });
const floor = await floors();
console.log(floor);

const bare = await measurePipeline(smoke ? 3 : 9, smoke ? 20_000 : 100_000);
row(
  'bare pipeline over the same functions awaited in a row',
  `${bare.overheadUs.toFixed(2)} µs an invocation`,
  '≤ 5 µs',
  bare.overheadUs <= 5,
);

await sync('inline function, against a bare fastify route', 'none', 'bench/servers/fastify-inline.ts', 1.3);
await sync(
  'pooled function (1 thread), against fastify + piscina (1 thread)',
  'thread',
  'bench/servers/fastify-piscina.ts',
  1.1,
);
await asynchronous();
queueFigures();

const text = page();
if (!smoke) writeFileSync(join(root, 'docs/benchmarks.md'), text);
console.log(`\n${text}`);
rmSync(home, { recursive: true });
process.exit(0);

function row(what: string, figure: string, bar: string, met: boolean): void {
  rows.push([what, figure, bar, met ? 'met' : '**missed**']);
  console.log(`${what}: ${figure} (bar ${bar}: ${met ? 'met' : 'MISSED'})`);
}

function gateway(functions: string, name: string): Promise<Subject> {
  const file = join(home, `${name}.yaml`);
  writeFileSync(
    file,
    `gateway: { listen: { port: 0 }, management: { port: 0 } }
queues: { default: { kind: sqlite, path: ${name}.db } }
stores: { default: { kind: memory } }
functions:
${functions}
observability: { logs: { format: json, level: info } }
`,
  );
  return startSubject(['core/main.ts', 'serve', '--config', file]);
}

async function sync(what: string, isolation: string, peerFile: string, bar: number): Promise<void> {
  const module = join(root, 'bench/servers/echo.ts');
  const pool =
    isolation === 'thread'
      ? ', pool: { min: 1, max: 1 }, invoke: { concurrency: 64 , waiting: 200 }'
      : ', invoke: { concurrency: 200 }';
  const ours = await gateway(`  echo: { module: ${module}, isolation: ${isolation}${pool} }`, `sync-${isolation}`);
  const peer = await startSubject([peerFile]);
  const body = Buffer.alloc(1024, 'e');
  const result = await compare(
    () => load(ours, '/function/echo', body, 200, blockMs),
    () => load(peer, '/function/echo', body, 200, blockMs),
    pairs,
  );
  await ours.stop();
  await peer.stop();
  const ratio = median(result.ratios);
  const worst = Math.max(...result.ratios);
  const figure =
    `${ratio.toFixed(2)} × (worst pair ${worst.toFixed(2)}): ${result.ours.cpuPerThousand.toFixed(0)} against ` +
    `${result.peer.cpuPerThousand.toFixed(0)} CPU-ms per 1,000; p50 ${result.ours.p50Ms.toFixed(2)} against ${result.peer.p50Ms.toFixed(2)} ms`;
  row(what, figure, `≤ ${bar} ×`, ratio <= bar);
}

async function asynchronous(): Promise<void> {
  const module = join(root, 'bench/servers/echo.ts');
  const subject = await gateway(
    `  noop: { module: ${module}, isolation: none, invoke: { concurrency: 256 } }`,
    'async',
  );
  const body = Buffer.alloc(256, 'a');
  const post = async (path: string): Promise<void> => {
    const pool = new Pool(subject.url);
    const { body: answer, statusCode } = await pool.request({ method: 'POST', path });
    await answer.dump();
    if (statusCode >= 300) throw new Error(`${path}: ${statusCode}`);
    await pool.close();
  };
  await post('/system/queues/noop/pause');
  await load(subject, '/async-function/noop', body, 202, 1500);
  const accepting = await load(subject, '/async-function/noop', body, 202, blockMs * 2);
  row(
    'durable accept of 256 bytes at saturation, gateway and its threads on one core',
    `${Math.round(accepting.requests / accepting.seconds)}/s, p99 ${accepting.p99Ms.toFixed(1)} ms, ${accepting.cpuPerThousand.toFixed(0)} CPU-ms per 1,000`,
    '≥ 5,000/s',
    accepting.requests / accepting.seconds >= 5000,
  );
  const offered = await openLoad(subject, '/async-function/noop', body, 202, 5000, blockMs * 2);
  const achieved = offered.requests / offered.seconds;
  row(
    'durable accept of 256 bytes, 5,000/s offered in an open loop',
    `${Math.round(achieved)}/s, p50 ${offered.p50Ms.toFixed(1)} ms, p99 ${offered.p99Ms.toFixed(1)} ms, ${offered.cpuPerThousand.toFixed(0)} CPU-ms per 1,000`,
    'all of it at p99 ≤ 15 ms',
    achieved >= 4950 && offered.p99Ms <= 15,
  );
  while ((await depth(subject)) < drained) await load(subject, '/async-function/noop', body, 202, 500);
  const before = await depth(subject);
  const cpuBefore = cpuMs(subject);
  const startedAt = performance.now();
  await post('/system/queues/noop/resume');
  let left = before;
  while (left > 0) {
    await wait(100);
    left = await depth(subject);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = ((cpuMs(subject) - cpuBefore) * 1000) / before;
  row(
    `drain of ${before.toLocaleString('en')} no-op invocations from sqlite, everything on one core`,
    `${Math.round(before / seconds)}/s, ${cpu.toFixed(0)} CPU-ms per 1,000`,
    '≥ 8,000/s',
    before / seconds >= 8000,
  );
  await subject.stop();
}

async function depth({ url }: Subject): Promise<number> {
  const rowsOf = (await (await fetch(`${url}/system/queues`)).json()) as {
    level: string;
    name: string;
    ready: number;
    leased: number;
  }[];
  const lane = rowsOf.find(({ level, name }) => level === 'function' && name.startsWith('noop'));
  return (lane?.ready ?? 0) + (lane?.leased ?? 0);
}

/** Growth with the backlog, measured at the queue itself: bench/queue.ts says how. */
function queueFigures(): void {
  const backlog = smoke ? 50_000 : 1_000_000;
  const out = execFileSync(process.execPath, ['bench/queue.ts', String(backlog), smoke ? '10000' : '100000'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for (const line of out.trim().split('\n')) console.log(`  queue: ${line}`);
  rows.push([
    `the embedded queue by itself at a backlog of ${backlog.toLocaleString('en')}`,
    out.trim().replaceAll('\n', '<br>'),
    'accept and drain ≤ 1.3 × slower than at 0; ≤ 50 bytes of RAM an item; ready ≤ 5 s',
    'see figures',
  ]);
}

function page(): string {
  const [cpu] = cpus();
  const kernel = readFileSync('/proc/version', 'utf8').split(' ').slice(0, 3).join(' ');
  return `# Benchmarks

Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}. Millrace ${version}, Node ${process.version}, ${kernel},
${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, load average at the end ${loadavg()[0]?.toFixed(2)}. Floors of the machine: ${floor}.

Method: the server on core 0, a closed loop of 64 keep-alive connections on core 1; blocks of ${blockMs / 1000} s of both sides in
turn (ABBA) after a warm-up block of each, ${pairs} pairs, median of the paired ratios of CPU-milliseconds per 1,000 requests (user and system time of the
server's process, its threads included). Any unexpected answer voids the run. Queue files on the disk of the sources,
\`synchronous=FULL\`.

| what | figure | bar | |
|---|---|---|---|
${rows.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}
`;
}
