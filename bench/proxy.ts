import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePorts } from '../test/support/brokers/ports.ts';
import { startGateway } from './gateway.ts';
import {
  compare,
  floors,
  type Load,
  load,
  median,
  openLoad,
  startListening,
  startProgram,
  type Subject,
  type Target,
} from './measure.ts';
import { circumstances, writeSection } from './page.ts';
import { compared, NotMeasured } from './rows/row.ts';

/**
 * The http provider next to @fastify/http-proxy and to proxies in Go and C, where they are: `npm run bench:proxy -- [--quick]
 * [--write] [--peer URL [--peer-pid PID]]`. Each proxy on core 0; the upstream, which is one and the same, and the load on core 1. A peer
 * of yours is called with POST at that URL, and must give back what it gets; by the id of its process its CPU is counted, too.
 */
const { values } = parseArgs({
  options: {
    peer: { type: 'string' },
    'peer-pid': { type: 'string' },
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
});
/** Of a comparison (`Bench` in rows/row.ts says why they are short), and of the open loop. */
const turns = values.quick ? { ms: 750, pairs: 4 } : { ms: 1000, pairs: 30 };
const blocks = values.quick ? { ms: 1500, pairs: 2 } : { ms: 5000, pairs: 6 };
const path = '/function/echo';
const body = Buffer.alloc(1024, 'e');
const home = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
const rows: string[] = [];

execFileSync('taskset', ['-cp', '1', String(process.pid)], { stdio: 'ignore' });
const floor = await floors();
const upstream = await startProgram([process.execPath, 'bench/servers/upstream.ts'], 1);
const ours = await startGateway(home, 'proxy', {
  queue: '{ kind: memory, allowVolatile: true }',
  functions: `  echo: { url: "${upstream.url}", invoke: { concurrency: 128, waiting: 500 } }`,
  more: 'providers: { http: { kind: http } }\n',
});

const saturated = await against('@fastify/http-proxy', 1.05, () =>
  startProgram([process.execPath, 'bench/servers/fastify-http-proxy.ts', upstream.url], 0),
);
await against('Go `httputil.ReverseProxy`', 0.8, goProxy);
await against('nginx `proxy_pass`, one process', undefined, nginx);
await against('Caddy `reverse-proxy`', undefined, caddy);
await halfLoad(saturated.requests / saturated.seconds / 2);
if (values.peer !== undefined) await besides(values.peer);

const text = `Written by \`npm run bench:proxy -- --write\` on ${circumstances()}. Floors of the machine: ${floor}.

1 KiB there and back, one upstream in Node behind each of them; the proxy on core 0, upstream and load on core 1, 64 keep-alive
connections in a closed loop. Blocks of ${turns.ms / 1000} s of both sides in turn (ABBA), ${turns.pairs} pairs (of the open loop ${blocks.pairs} of ${blocks.ms / 1000} s), median of the paired ratios of
CPU-milliseconds of the proxy per 1,000 requests with its interval (95 %, bootstrap); a bar is met where the worse end meets it. Any unexpected answer voids the run.

| next to | figure | bar | |
|---|---|---|---|
${rows.join('\n')}
`;
if (values.write) writeSection('proxy', text);
console.log(`\n${text}`);
for (const subject of [ours, upstream]) await subject.stop();
process.exit(0);

async function goProxy(): Promise<Subject> {
  const program = join(home, 'reverse-proxy');
  const made = spawnSync('go', ['build', '-o', program, 'bench/servers/reverse-proxy.go'], { stdio: 'inherit' });
  if (made.error) throw new NotMeasured('there is no Go on this machine');
  return startProgram([program, upstream.url], 0);
}

async function nginx(): Promise<Subject> {
  if (!isThere('nginx', '-v'))
    throw new NotMeasured('there is no nginx on this machine (`apt-get install nginx-light`)');
  const [port = 0] = await freePorts(1);
  const file = join(home, 'nginx.conf');
  writeFileSync(
    file,
    `daemon off; master_process off; pid ${home}/nginx.pid; error_log stderr;
events { worker_connections 1024; }
http {
  access_log off;
  upstream echo { server ${new URL(upstream.url).host}; keepalive 128; }
  server {
    listen 127.0.0.1:${port};
    keepalive_requests 1000000000;
    location / { proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  );
  return startListening(['nginx', '-c', file], 0, port);
}

async function caddy(): Promise<Subject> {
  const how = 'go install github.com/caddyserver/caddy/v2/cmd/caddy@latest';
  if (!isThere('caddy', 'version')) throw new NotMeasured(`there is no Caddy on the PATH (\`${how}\`)`);
  const [port = 0] = await freePorts(1);
  return startListening(
    ['caddy', 'reverse-proxy', '--from', `http://127.0.0.1:${port}`, '--to', upstream.url],
    0,
    port,
  );
}

function isThere(program: string, question: string): boolean {
  return spawnSync(program, [question], { stdio: 'ignore' }).error === undefined;
}

/** CPU of ours next to that of a peer: a bar of `most` times, or none. */
async function against(name: string, most: number | undefined, start: () => Promise<Subject>): Promise<Load> {
  const peer = await start().catch((error: unknown) => {
    if (!(error instanceof NotMeasured)) throw error;
    rows.push(`| ${name} | not measured: ${error.message} | | |`);
    return undefined;
  });
  if (!peer) return load(ours, path, body, 200, turns.ms);
  const result = await compare(
    () => load(ours, path, body, 200, turns.ms),
    () => load(peer, path, body, 200, turns.ms),
    turns.pairs,
  );
  peer.child.kill('SIGKILL'); // Not all of them end by themselves.
  const { figure, bar, met } = compared(name, result, most === undefined ? 'none' : `≤ ${most} ×`, most);
  row(name, figure, bar, met);
  return result.ours;
}

/** A gateway that somebody else has started, called as ours is, in turn. */
async function besides(peer: string): Promise<void> {
  const { origin, pathname } = new URL(peer);
  const pid = Number(values['peer-pid'] ?? process.pid);
  const theirs: Target = { url: origin, pid };
  const result = await compare(
    () => load(ours, path, body, 200, turns.ms),
    () => load(theirs, pathname, body, 200, turns.ms),
    turns.pairs,
  );
  const told = ({ requests, seconds, p50Ms, p99Ms }: Load): string =>
    `${Math.round(requests / seconds)}/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;
  const cpu = values['peer-pid'] === undefined ? '' : `; CPU ${compared('', result, '', undefined).figure}`;
  row(peer, `${told(result.ours)} against ${told(result.peer)}${cpu}`, 'none', undefined);
}

/** What the gateway adds to a call, at half of what it can do: blocks with and without it in turn. */
async function halfLoad(rate: number): Promise<void> {
  const p50s: number[] = [];
  const p99s: number[] = [];
  for (let pair = 0; pair < blocks.pairs; pair++) {
    const through = await openLoad(ours, path, body, 200, rate, blocks.ms);
    const direct = await openLoad(upstream, path, body, 200, rate, blocks.ms);
    p50s.push(through.p50Ms - direct.p50Ms);
    p99s.push(through.p99Ms - direct.p99Ms);
  }
  row(
    `the upstream called directly, ${Math.round(rate)}/s in an open loop (half of saturation)`,
    `${median(p50s).toFixed(2)} ms more at p50, ${median(p99s).toFixed(2)} ms at p99`,
    'p50 ≤ 0.4 ms, p99 ≤ 2 ms',
    median(p50s) <= 0.4 && median(p99s) <= 2,
  );
}

function row(what: string, figure: string, bar: string, met: boolean | undefined): void {
  const verdict = met === undefined ? '' : met ? 'met' : '**missed**';
  rows.push(`| ${what} | ${figure} | ${bar} | ${verdict} |`);
  console.log(`${what}: ${figure} (bar ${bar}: ${verdict})`);
}
