/**
 * A gateway under a mixed load for as long as one likes: does anything grow? `npm run soak -- --minutes 30` prints a line for
 * each sample and one with the verdict, and ends with 1 when something grew. `--leak memory` plants what it must then find.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Agent, request } from 'undici';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';
import type { Resources } from '../support/plugins/resources.ts';
import { processStatus } from '../support/processes.ts';
import { seeded } from './random.ts';
import { type Sample, verdictOf } from './soak-verdict.ts';

const leaks = ['memory', 'timers', 'descriptors'] as const;
type Leak = (typeof leaks)[number];

export interface SoakOptions {
  readonly ms: number;
  readonly everyMs: number;
  readonly leak?: Leak;
  readonly told?: (sample: Sample) => void;
}

const fixtures = join(import.meta.dirname, '../fixtures/functions');
const plugin = join(import.meta.dirname, '../support/plugins/resources.ts');
const callers = 16;
/** Of one core: what is asked for is brought there, a step at each sample. */
const wantedCpu = 0.3;
const firstRate = 80;
const clockTicks = 100;

function configuration(folder: string, leak: SoakOptions['leak'] | 'none'): string {
  // Records live for a minute, so that what is kept is soon as much as it will be. By default they live for a day: the file
  // then grows for as long, and what SQLite has of it in memory until that is as much as it may (32 MiB, `PRAGMA cache_size`).
  const kept = 'result: { ttl: 30s }';
  const forgets = 'tombstones: 30s, deadLetter: { retention: 30s }';
  return `
plugins: ["${plugin}"]
gateway: { listen: { port: 0 }, management: { port: 0 } }
queues: { default: { kind: sqlite, path: ${folder}/queue.db, ${forgets} } }
stores: { default: { kind: sqlite, path: ${folder}/store.db } }
providers: { worker: { kind: worker, pool: { min: 2, max: 2 } } }
functions:
  echo: { module: ${fixtures}/echo.ts, invoke: { ${kept} } }
  slow: { module: ${fixtures}/slow.ts, invoke: { concurrency: 50, ${kept} } }
  fail: { module: ${fixtures}/fail.ts, invoke: { retry: { attempts: 2, backoff: { initial: 10ms } }, ${kept} } }
connectors:
  http: { kind: http }
  resources: { kind: resources, leak: ${leak} }
observability: { logs: { format: json, level: info } }
`;
}

/** Runs it, and gives the samples. Rejects when the gateway ends, or answers a call as it must not. */
export async function soak({ ms, everyMs, leak, told }: SoakOptions): Promise<readonly Sample[]> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-soak-'));
  const file = join(folder, 'millrace.yaml');
  writeFileSync(file, configuration(folder, leak ?? 'none'));
  const gateway = await startGateway(file);
  const load = new Load(gateway);
  const samples: Sample[] = [];
  const begun = performance.now();
  try {
    for (let before = usage(gateway), at = begun; performance.now() - begun < ms;) {
      await load.run(everyMs);
      const now = performance.now();
      const after = usage(gateway);
      const { latencies, calls } = load.taken();
      const sorted = latencies.toSorted((a, b) => a - b);
      const { active, ...memory } = (await (await request(`${gateway.url}/resources`)).body.json()) as Resources;
      const sample: Sample = {
        atMs: now - begun,
        rssMiB: after.rssMiB,
        heapMiB: memory.heapBytes / 2 ** 20,
        committedMiB: memory.committedBytes / 2 ** 20,
        externalMiB: memory.externalBytes / 2 ** 20,
        descriptors: after.descriptors,
        threads: after.threads,
        timers: active['Timeout'] ?? 0,
        p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
        cpu: (after.cpuSeconds - before.cpuSeconds) / ((now - at) / 1000),
        calls,
      };
      samples.push(sample);
      told?.(sample);
      load.rate *= Math.min(1.25, Math.max(0.8, wantedCpu / sample.cpu));
      before = after;
      at = now;
    }
    return samples;
  } finally {
    await load.close();
    await stopGateway(gateway);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What the system says of the process. */
function usage({ child: { pid = 0 } }: GatewayProcess) {
  const at = `/proc/${pid}`;
  // Behind the name, which may hold anything: utime and stime are the 12th and 13th field there.
  const fields = (readFileSync(`${at}/stat`, 'utf8').split(') ')[1] ?? '').split(' ');
  return {
    rssMiB: processStatus(pid, 'VmRSS') / 1024,
    threads: processStatus(pid, 'Threads'),
    descriptors: readdirSync(`${at}/fd`).length,
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / clockTicks,
  };
}

/** Those who call: all kinds of calls, so many a second, with rests. */
class Load {
  rate = firstRate;
  readonly #gateway: GatewayProcess;
  readonly #agent = new Agent({ connections: callers });
  readonly #random = seeded(1);
  #latencies: number[] = [];
  #calls = 0;

  constructor(gateway: GatewayProcess) {
    this.#gateway = gateway;
  }

  /** For so long; resolves when the last call has ended. */
  async run(ms: number): Promise<void> {
    const until = performance.now() + ms;
    const one = async (): Promise<void> => {
      while (performance.now() < until) {
        const began = performance.now();
        await this.#call();
        this.#calls++;
        const restMs = (callers / this.rate) * 1000 - (performance.now() - began);
        if (restMs > 0) await wait(restMs);
      }
    };
    await Promise.all(Array.from({ length: callers }, one));
    const { status, text } = await this.#ask('DELETE', '/system/dead-letters?function=fail');
    if (status !== 200) throw new Error(`to purge dead letters was answered with ${status} ${text.slice(0, 200)}`);
  }

  /** What was measured since it was last asked. */
  taken(): { latencies: readonly number[]; calls: number } {
    const taken = { latencies: this.#latencies, calls: this.#calls };
    this.#latencies = [];
    this.#calls = 0;
    return taken;
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #call(): Promise<void> {
    const draw = this.#random();
    if (draw < 0.4) return this.#synchronous();
    if (draw < 0.6) return this.#asynchronous({});
    if (draw < 0.7)
      return this.#asynchronous({ 'x-order-key': `k${Math.floor(this.#random() * 20)}`, 'x-priority': '7' });
    if (draw < 0.75) return this.#asynchronous({ 'x-delay': '500ms' });
    if (draw < 0.8) return this.#cancelled();
    if (draw < 0.85) return void (await this.#accepted('fail', {}));
    if (draw < 0.9) return this.#left('POST', '/function/slow', '2000');
    if (draw < 0.95) return this.#left('GET', '/system/events');
    await this.#ask('GET', `${this.#gateway.management}/metrics`);
  }

  async #synchronous(): Promise<void> {
    const began = performance.now();
    const body = 'x'.repeat(Math.floor(this.#random() * 4000));
    const { status, text } = await this.#ask('POST', '/function/echo', body);
    if (status !== 200 || text !== body) throw new Error(`echo was answered with ${status} ${text.slice(0, 200)}`);
    this.#latencies.push(performance.now() - began);
  }

  async #asynchronous(headers: Record<string, string>): Promise<void> {
    const id = await this.#accepted('echo', headers);
    const { status, text } = await this.#ask('GET', `/invocations/${id}/result?wait=20s`);
    if (status !== 200) throw new Error(`the result of ${id} was answered with ${status} ${text.slice(0, 200)}`);
  }

  async #cancelled(): Promise<void> {
    const id = await this.#accepted('slow', { 'x-delay': '30s' });
    const { status } = await this.#ask('DELETE', `/invocations/${id}`);
    if (status !== 202) throw new Error(`to cancel ${id} was answered with ${status}`);
  }

  async #accepted(name: string, headers: Record<string, string>): Promise<string> {
    const { status, text, id } = await this.#ask('POST', `/async-function/${name}`, 'x', headers);
    if (status !== 202) throw new Error(`${name} was answered with ${status} ${text.slice(0, 200)}`);
    return id;
  }

  /** A caller who goes away before it is over. */
  async #left(method: 'GET' | 'POST', path: string, body?: string): Promise<void> {
    const signal = AbortSignal.timeout(50);
    const leaving = request(`${this.#gateway.url}${path}`, { method, signal, ...(body !== undefined && { body }) });
    await leaving
      .then((answer) => answer.body.dump())
      .catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
  }

  async #ask(method: 'GET' | 'POST' | 'DELETE', path: string, body?: string, headers: Record<string, string> = {}) {
    const url = path.startsWith('/') ? `${this.#gateway.url}${path}` : path;
    const answer = await request(url, {
      method,
      headers,
      dispatcher: this.#agent,
      ...(body !== undefined && { body }),
    });
    return { status: answer.statusCode, text: await answer.body.text(), id: String(answer.headers['x-invocation-id']) };
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { minutes: { type: 'string', default: '30' }, leak: { type: 'string' } } });
  const minutes = Number(values.minutes);
  const leak = leaks.find((one) => one === values.leak);
  if (!(minutes > 0) || leak !== values.leak)
    throw new Error(`expected npm run soak -- --minutes NUMBER [--leak ${leaks.join('|')}]`);
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const told = (sample: Sample): void =>
    say(
      `${(sample.atMs / 60_000).toFixed(1).padStart(6)} min  RSS ${sample.rssMiB.toFixed(0)} MiB  heap ${sample.heapMiB.toFixed(1)} of ${sample.committedMiB.toFixed(0)} MiB, external ${sample.externalMiB.toFixed(0)}  ` +
        `${sample.descriptors} descriptors  ${sample.threads} threads  ${sample.timers} timers  ` +
        `p99 ${sample.p99Ms.toFixed(1)} ms  CPU ${Math.round(100 * sample.cpu)} %  ${sample.calls} calls`,
    );
  const { grew, line } = verdictOf(
    await soak({ ms: minutes * 60_000, everyMs: Math.min(15_000, minutes * 2000), told, ...(leak && { leak }) }),
  );
  say(line);
  process.exitCode = grew.length === 0 ? 0 : 1;
}
