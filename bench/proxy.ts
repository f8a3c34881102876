import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  compare,
  floors,
  type Load,
  load,
  median,
  openLoad,
  startProgram,
  startSubject,
  type Subject,
} from './measure.ts';
import { circumstances, writeSection } from './page.ts';

// `npm run bench:proxy [-- --smoke]`: the http provider next to @fastify/http-proxy and to Go's own reverse proxy, where
// there is Go. Each proxy on core 0; the upstream, which is one and the same, and the load on core 1.
const smoke = process.argv.includes('--smoke');
const blockMs = smoke ? 1500 : 5000;
const pairs = smoke ? 2 : 6;
const path = '/function/echo';
const body = Buffer.alloc(1024, 'e');
const home = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
const rows: string[] = [];

execFileSync('taskset', ['-cp', '1', String(process.pid)], { stdio: 'ignore' });
const floor = await floors();
const upstream = await startProgram([process.execPath, 'bench/servers/upstream.ts'], 1);
const ours = await gateway();

const saturated = await against('@fastify/http-proxy', '≤ 1.05 ×', 1.05, [
  process.execPath,
  'bench/servers/fastify-http-proxy.ts',
  upstream.url,
]);
const goProxy = compiled();
if (goProxy) await against('Go `httputil.ReverseProxy`', 'none: another language', undefined, [goProxy, upstream.url]);
else rows.push('| Go `httputil.ReverseProxy` | not measured: there is no Go on this machine | | |');
await halfLoad(saturated.requests / saturated.seconds / 2);

const text = `Written by \`npm run bench:proxy\` on ${circumstances()}. Floors of the machine: ${floor}.

1 KiB there and back, one upstream in Node behind each of them; the proxy on core 0, upstream and load on core 1, 64 keep-alive
connections in a closed loop. Blocks of ${blockMs / 1000} s of both sides in turn (ABBA), ${pairs} pairs, median of the paired ratios of
CPU-milliseconds of the proxy per 1,000 requests. Any unexpected answer voids the run.

| next to | figure | bar | |
|---|---|---|---|
${rows.join('\n')}
`;
if (!smoke) writeSection('proxy', text);
console.log(`\n${text}`);
for (const subject of [ours, upstream]) await subject.stop();
process.exit(0);

function gateway(): Promise<Subject> {
  const file = join(home, 'proxy.yaml');
  writeFileSync(
    file,
    `gateway: { listen: { port: 0 }, management: { port: 0 } }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
providers: { http: { kind: http } }
functions: { echo: { url: "${upstream.url}", invoke: { concurrency: 128, waiting: 500 } } }
observability: { logs: { format: json, level: info } }
`,
  );
  return startSubject(['core/main.ts', 'serve', '--config', file]);
}

/** Where the Go program of the peer is; undefined without Go. */
function compiled(): string | undefined {
  const program = join(home, 'reverse-proxy');
  const made = spawnSync('go', ['build', '-o', program, 'bench/servers/reverse-proxy.go'], { stdio: 'inherit' });
  return made.status === 0 ? program : undefined;
}

async function against(
  name: string,
  bar: string,
  limit: number | undefined,
  command: readonly string[],
): Promise<Load> {
  const peer = await startProgram(command, 0);
  const result = await compare(
    () => load(ours, path, body, 200, blockMs),
    () => load(peer, path, body, 200, blockMs),
    pairs,
  );
  peer.child.kill('SIGKILL'); // Not all of them end by themselves.
  const ratio = median(result.ratios);
  row(
    name,
    `${ratio.toFixed(2)} × (worst pair ${Math.max(...result.ratios).toFixed(2)}): ${result.ours.cpuPerThousand.toFixed(0)} against ` +
      `${result.peer.cpuPerThousand.toFixed(0)} CPU-ms per 1,000`,
    bar,
    limit === undefined ? undefined : ratio <= limit,
  );
  return result.ours;
}

/** What the gateway adds to a call, at half of what it can do: blocks with and without it in turn. */
async function halfLoad(rate: number): Promise<void> {
  const p50s: number[] = [];
  const p99s: number[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    const through = await openLoad(ours, path, body, 200, rate, blockMs);
    const direct = await openLoad(upstream, path, body, 200, rate, blockMs);
    p50s.push(through.p50Ms - direct.p50Ms);
    p99s.push(through.p99Ms - direct.p99Ms);
  }
  row(
    `the upstream called directly, ${Math.round(rate)}/s in an open loop (half of saturation)`,
    `${median(p50s).toFixed(2)} ms more at p50, ${median(p99s).toFixed(2)} ms at p99`,
    'p50 ≤ 0.4 ms',
    median(p50s) <= 0.4,
  );
}

function row(what: string, figure: string, bar: string, met: boolean | undefined): void {
  const verdict = met === undefined ? '' : met ? 'met' : '**missed**';
  rows.push(`| ${what} | ${figure} | ${bar} | ${verdict} |`);
  console.log(`${what}: ${figure} (bar ${bar}: ${verdict})`);
}
