import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fdatasyncSync, openSync, readdirSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Pool } from 'undici';
import { processStatus } from '../test/support/processes.ts';
import { BareCalls } from './bare-calls.ts';

const root = join(import.meta.dirname, '..');

/** A server under test, in a process of its own on core 0; the load comes from core 1. */
export interface Subject {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly url: string;
  readonly management: string;
  stop(): Promise<void>;
}

/** Which cores a program may run on. */
export type Cores = number | '0,1';

/** What a load is sent to, and whose CPU is counted. */
export type Target = Pick<Subject, 'pid' | 'url'>;

export function startSubject(
  args: readonly string[],
  env?: Readonly<Record<string, string>>,
  cores: Cores = 0,
): Promise<Subject> {
  return startProgram([process.execPath, ...args], cores, env);
}

/** Any program that says where it listens as a gateway does. */
export async function startProgram(
  command: readonly string[],
  cores: Cores,
  env: Readonly<Record<string, string>> = {},
): Promise<Subject> {
  const child = spawnOn(cores, command, env, 'pipe');
  const ready = await new Promise<{ url: string; management?: string }>((resolve, reject) => {
    if (child.stdout)
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (line.includes('"msg":"ready"')) resolve(JSON.parse(line) as { url: string });
      });
    child.once('exit', (code) => reject(new Error(`${command.join(' ')} ended with ${code}`)));
  });
  return subjectOf(child, ready.url, ready.management);
}

/** Any program that listens on that port of the loopback interface and says nothing of it, on one core. */
export async function startListening(command: readonly string[], core: number, port: number): Promise<Subject> {
  const child = spawnOn(core, command, {}, 'ignore');
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`${command.join(' ')} ended with ${child.exitCode}`);
    await sleep(50);
  }
  return subjectOf(child, `http://127.0.0.1:${port}`);
}

function spawnOn(
  cores: Cores,
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  stdout: 'pipe' | 'ignore',
): ChildProcess {
  const child = spawn('taskset', ['-c', String(cores), ...command], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', stdout, 'inherit'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

function subjectOf(child: ChildProcess, url: string, management = ''): Subject {
  const stop = async (): Promise<void> => {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  };
  return { child, pid: child.pid ?? Number.NaN, url, management, stop };
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false; // Not yet.
  } finally {
    socket.destroy();
  }
}

// Whatever ends the benchmark, nothing of it is left running.
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

/** CPU time of the process, ms: of the threads that it has, none of which may end while it is measured. */
export function cpuMs(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  let ns = 0;
  // To the nanosecond, where /proc/PID/stat has ticks of 10 ms.
  for (const task of readdirSync(tasks))
    ns += Number(readFileSync(join(tasks, task, 'schedstat'), 'utf8').split(' ')[0]);
  return ns / 1e6;
}

/** Resident memory of the process, MB (of 10^6 bytes, as the bars are). */
export function rssMb(pid: number): number {
  return (processStatus(pid, 'VmRSS') * 1024) / 1e6;
}

export interface Load {
  readonly requests: number;
  readonly seconds: number;
  /** CPU-milliseconds of the server for 1,000 requests. */
  readonly cpuPerThousand: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** A closed loop of 64 keep-alive connections for so long. Any answer but the expected one voids the run. */
export async function load(subject: Target, path: string, body: Buffer, expected: number, ms: number): Promise<Load> {
  const end = performance.now() + ms;
  return closedLoop(subject, path, body, expected, () => performance.now() < end);
}

/** The same, so many requests: as exact on a machine that is busy. */
export async function loadCount(
  subject: Target,
  path: string,
  body: Buffer,
  expected: number,
  count: number,
): Promise<Load> {
  let left = count;
  return closedLoop(subject, path, body, expected, () => left-- > 0);
}

async function closedLoop(
  subject: Target,
  path: string,
  body: Buffer,
  expected: number,
  goesOn: () => boolean,
): Promise<Load> {
  const pool = new Pool(subject.url, { connections: 64, pipelining: 1 });
  const send = async (): Promise<void> => {
    const answer = await pool.request({ method: 'POST', path, headers: { 'content-type': 'text/plain' }, body });
    expectAnswer(path, body, expected, answer.statusCode, await answer.body.bytes());
  };
  const load = await measured(subject, async (latencies) => {
    const one = async (): Promise<void> => {
      while (goesOn()) {
        const sentAt = performance.now();
        await send();
        latencies.push(performance.now() - sentAt);
      }
    };
    await Promise.all(Array.from({ length: 64 }, one));
  });
  await pool.close();
  return load;
}

/**
 * An open loop: `rate` requests a second, whatever becomes of those before. Latency counts from when a request was due,
 * so that a server which holds up the loop does not hide it.
 */
export async function openLoad(
  subject: Target,
  path: string,
  body: Buffer,
  expected: number,
  rate: number,
  ms: number,
): Promise<Load> {
  const calls = new BareCalls(subject.url, path, body);
  await calls.open(64);
  const send = async (): Promise<void> => {
    const answer = await calls.call();
    expectAnswer(path, body, expected, answer.status, answer.body);
  };
  const load = await measured(subject, async (latencies) => {
    const startedAt = performance.now();
    const sent: Promise<void>[] = [];
    for (let count = 0; count < (rate * ms) / 1000; count++) {
      const dueAt = startedAt + (count * 1000) / rate;
      const waitMs = dueAt - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      sent.push(send().then(() => void latencies.push(performance.now() - dueAt)));
    }
    await Promise.all(sent);
  });
  calls.close();
  return load;
}

async function measured(subject: Target, run: (latencies: number[]) => Promise<void>): Promise<Load> {
  const latencies: number[] = [];
  const cpuBefore = cpuMs(subject.pid);
  const startedAt = performance.now();
  await run(latencies);
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = cpuMs(subject.pid) - cpuBefore;
  latencies.sort((a, b) => a - b);
  return {
    requests: latencies.length,
    seconds,
    cpuPerThousand: (cpu * 1000) / latencies.length,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
  };
}

function expectAnswer(path: string, body: Buffer, expected: number, status: number, answer: Uint8Array): void {
  if (status !== expected) throw new Error(`${path}: ${status} ${Buffer.from(answer).toString()}`);
  if (expected === 200 && answer.byteLength !== body.byteLength) throw new Error(`${path}: another body came back`);
}

export function quantile(sorted: readonly number[], fraction: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return quantile(
    values.toSorted((a, b) => a - b),
    0.5,
  );
}

/**
 * Between what the median lies with 95 %, as the sample tells of itself: the medians of samples that are drawn from it
 * (bootstrap). Drawn by a generator with a fixed start, so that the same values have the same interval.
 */
export function medianInterval(values: readonly number[], draws = 4000): readonly [least: number, most: number] {
  let state = 1;
  const below = (count: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * count);
  };
  const medians = Array.from({ length: draws }, () =>
    median(values.map(() => values[below(values.length)] ?? Number.NaN)),
  ).toSorted((a, b) => a - b);
  return [quantile(medians, 0.025), quantile(medians, 0.975)];
}

export interface Compared {
  /** CPU of ours ÷ CPU of the peer, of each pair of blocks. */
  readonly ratios: readonly number[];
  readonly ours: Load;
  readonly peer: Load;
}

/** Of the pairs that count, so many more go before. */
const warmUpPart = 1 / 6;

/** Alternates blocks of both (ABBA), so that what else the machine does meets both alike. */
export async function compare(ours: () => Promise<Load>, peer: () => Promise<Load>, pairs: number): Promise<Compared> {
  const ratios: number[] = [];
  const all: { ours: Load[]; peer: Load[] } = { ours: [], peer: [] };
  for (let pair = -Math.ceil(pairs * warmUpPart); pair < pairs; pair++) {
    const first = pair % 2 === 0 ? 'ours' : 'peer';
    const a = await (first === 'ours' ? ours() : peer());
    const b = await (first === 'ours' ? peer() : ours());
    if (pair < 0) continue;
    const [own, other] = first === 'ours' ? [a, b] : [b, a];
    all.ours.push(own);
    all.peer.push(other);
    ratios.push(own.cpuPerThousand / other.cpuPerThousand);
  }
  return { ratios, ours: middle(all.ours), peer: middle(all.peer) };
}

function middle(loads: readonly Load[]): Load {
  const sorted = loads.toSorted((a, b) => a.cpuPerThousand - b.cpuPerThousand);
  const found = sorted[sorted.length >> 1];
  if (!found) throw new Error('nothing was measured');
  return found;
}

/** ms that a message takes to a worker thread and back. */
async function workerTrip(): Promise<number> {
  const worker = new Worker(
    "const { parentPort } = require('node:worker_threads'); parentPort.on('message', (m) => parentPort.postMessage(m));",
    { eval: true },
  );
  const trips: number[] = [];
  for (let count = 0; count < 3000; count++) {
    const before = performance.now();
    worker.postMessage(0, []);
    await once(worker, 'message');
    trips.push(performance.now() - before);
  }
  await worker.terminate();
  return median(trips);
}

function copyGiBs(): number {
  const [from, to] = [Buffer.alloc(2 ** 26, 'm'), Buffer.alloc(2 ** 26)];
  const rates = Array.from({ length: 11 }, () => {
    const before = performance.now();
    from.copy(to);
    return 62.5 / (performance.now() - before); // 1/16 GiB, in ms.
  });
  return median(rates);
}

/** What the machine itself can do: to be printed with every figure. */
export async function floors(): Promise<string> {
  const file = join(root, '.bench-floor');
  const descriptor = openSync(file, 'w');
  const block = Buffer.alloc(4096);
  const syncs: number[] = [];
  for (let count = 0; count < 200; count++) {
    const before = performance.now();
    writeSync(descriptor, block);
    fdatasyncSync(descriptor);
    syncs.push(performance.now() - before);
  }
  closeSync(descriptor);
  unlinkSync(file);
  const trips = await loopback();
  const sorted = syncs.toSorted((a, b) => a - b);
  return `fdatasync of 4 KiB p50 ${quantile(sorted, 0.5).toFixed(2)} ms, p99 ${quantile(sorted, 0.99).toFixed(2)} ms; loopback round trip p50 ${(trips * 1000).toFixed(0)} µs; worker round trip p50 ${((await workerTrip()) * 1000).toFixed(0)} µs; memory copied at ${copyGiBs().toFixed(1)} GiB/s`;
}

async function loopback(): Promise<number> {
  const server = createServer((socket) => socket.setNoDelay(true).pipe(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1').setNoDelay(true);
  await once(socket, 'connect');
  const trips: number[] = [];
  for (let count = 0; count < 3000; count++) {
    const before = performance.now();
    socket.write('x');
    await once(socket, 'data');
    trips.push(performance.now() - before);
  }
  socket.destroy();
  server.close();
  return median(trips);
}
