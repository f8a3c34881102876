import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { Piscina } from 'piscina';
import { systemClock } from '../core/contracts/clock.ts';
import type { ProviderHost } from '../core/contracts/definition.ts';
import type { Invocation } from '../core/contracts/invocation.ts';
import type { Call, FunctionEntry, FunctionSpec } from '../core/contracts/provider.ts';
import { makeCall, makeEntry, makeInvocation } from '../core/testing/calls.ts';
import worker from '../plugins/providers/worker/index.ts';

const threads = Number(process.env.T ?? 2);
const inFlight = 16;
const module = fileURLToPath(new URL('../config/functions/echo.ts', import.meta.url));

export interface WorkerFigure {
  readonly name: string;
  /** CPU-milliseconds of the whole process, threads included, for 1,000 calls. */
  readonly cpuMs: number;
  /** Microseconds from one answer to the next. */
  readonly wallUs: number;
}

interface Contestant {
  readonly name: string;
  readonly call: () => Promise<unknown>;
  readonly stop: () => Promise<unknown>;
}

/**
 * The round trip of the echo function, without HTTP: our pool, piscina with the same handler and as many threads, and
 * the function inline. A closed loop with 16 in flight, in alternating rounds; the median of each.
 */
export async function measureWorker(rounds = 7, perRound = 30_000): Promise<readonly WorkerFigure[]> {
  const contestants = await Promise.all([
    own('pool', { pool: { min: threads, max: threads } }),
    piscina('piscina', 1),
    own('pool, 8 a thread', { pool: { min: threads, max: threads }, perThread: 8 }),
    piscina('piscina, 8 a thread', 8),
    own('inline', { isolation: 'none' }),
  ]);
  const samples = contestants.map(() => [] as { cpuMs: number; wallUs: number }[]);
  for (let round = -2; round < rounds; round++) {
    for (const [index, contestant] of contestants.entries()) {
      const sample = await measure(contestant, perRound);
      if (round >= 0) samples[index]?.push(sample); // The first two warm up.
    }
  }
  await Promise.all(contestants.map(({ stop }) => stop()));
  return contestants.map(({ name }, index) => ({
    name,
    cpuMs: median((samples[index] ?? []).map(({ cpuMs }) => cpuMs)),
    wallUs: median((samples[index] ?? []).map(({ wallUs }) => wallUs)),
  }));
}

async function measure({ call }: Contestant, count: number): Promise<{ cpuMs: number; wallUs: number }> {
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  let left = count;
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (left-- > 0) await call();
    }),
  );
  const { user, system } = process.cpuUsage(cpuBefore);
  return { cpuMs: (user + system) / count, wallUs: ((performance.now() - startedAt) * 1000) / count };
}

const body = new Uint8Array(1024).fill(0x61);
const headers = { 'content-type': 'text/plain', 'user-agent': 'bench', accept: '*/*', host: 'localhost:8080' };

async function own(name: string, config: Readonly<Record<string, unknown>>): Promise<Contestant> {
  const host: ProviderHost = {
    name: 'worker',
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    metrics: { counter: () => ({ inc: () => undefined }), gauge: () => ({ set: () => undefined }) },
    signal: new AbortController().signal,
    baseFolder: '/',
    connection: () => {
      throw new Error('there is no connection here');
    },
    fail: () => undefined,
    report: () => undefined,
    functionLog: () => undefined,
  };
  const provider = worker.create(worker.config.parse({ watch: false }), host);
  const spec: FunctionSpec = {
    name: 'echo.bench',
    provider: 'worker',
    config: worker.functionConfig.parse({ module, ...config }),
    env: {},
    labels: {},
    annotations: {},
  };
  await provider.deploy(spec);
  const entry: FunctionEntry = makeEntry(provider, spec);
  const invocation = makeInvocation('echo.bench', { headers, body });
  await provider.invoke(entry, makeCall(invocation));
  return {
    name,
    call: async () => {
      const { status } = await provider.invoke(entry, new BenchCall(invocation));
      if (status !== 200) throw new Error(`status ${status}`);
    },
    stop: () => provider.stop(1000),
  };
}

/** As the pipeline makes it: the signal exists once somebody asks for it; none of these is ever aborted. */
class BenchCall implements Call {
  readonly invocation: Invocation;
  readonly startedAt = performance.now();
  readonly deadline = this.startedAt + 20_000;
  #controller: AbortController | undefined;

  constructor(invocation: Invocation) {
    this.invocation = invocation;
  }

  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal;
  }

  watch(): void {}
}

async function piscina(name: string, concurrentTasksPerWorker: number): Promise<Contestant> {
  const pool = new Piscina({
    filename: new URL('piscina-echo.ts', import.meta.url).href,
    minThreads: threads,
    maxThreads: threads,
    concurrentTasksPerWorker,
  });
  const invocation = makeInvocation('echo.bench', { headers, body });
  const { id, callId, method, path, query, attempt } = invocation;
  return {
    name,
    // What the function needs of the call; the signal is left out, which piscina would pay for with a listener more.
    call: () => pool.run({ id, callId, method, path, query, headers, body, attempt, deadline: Date.now() + 20_000 }),
    stop: () => pool.destroy(),
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

if (import.meta.main) {
  for (const { name, cpuMs, wallUs } of await measureWorker()) {
    console.log(`${name.padEnd(20)} ${cpuMs.toFixed(1).padStart(6)} CPU-ms/1000 ${wallUs.toFixed(1).padStart(6)} µs`);
  }
}
