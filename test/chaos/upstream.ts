import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { bodyOf, serve } from '../support/http-functions.ts';
import { Callers } from './callers.ts';
import { broken, check, type Execution, type History } from './checker.ts';
import { FaultProxy } from './fault-proxy.ts';
import { Fleet } from './fleet.ts';
import { readLedgers } from './ledgers.ts';
import { Disturber } from './network.ts';
import { sqlite } from './queues.ts';
import { seeded } from './random.ts';
import { SyncCallers } from './sync-callers.ts';

export interface UpstreamPlan {
  readonly seed: number;
  /** How often the network fails. */
  readonly rounds: number;
  /** For how long at most, each time. */
  readonly disturbedMs: number;
  /** A bug to plant. */
  readonly plant?: string;
  readonly log?: (text: string) => void;
}

export interface UpstreamRun {
  readonly sync: SyncCallers;
  /** Of the calls that went through the queue. */
  readonly history: History;
  /** Sync calls that ran more than once. */
  readonly repeated: readonly string[];
}

const timeoutMs = 3000;
const concurrency = 8;
const attemptsOf = { ok: 1, keyed: 1, probe: 1, 'fail-once': 2, 'fail-always': 3, crash: 3 };

/** Calls functions behind a URL, sync and through a queue, while the network to them fails over and over. */
export async function upstreamRun({ seed, rounds, disturbedMs, plant, log }: UpstreamPlan): Promise<UpstreamRun> {
  await using over = new AsyncDisposableStack();
  const home = mkdtempSync(join(tmpdir(), 'millrace-upstream-'));
  over.defer(() => rmSync(home, { recursive: true, force: true }));
  const executions: Execution[] = [];
  const server = over.use(await serve((request, response) => run(executions, request, response)));
  const proxy = over.use(await FaultProxy.open(Number(new URL(server.url).port), seeded(seed)));
  const config = join(home, 'millrace.yaml');
  writeFileSync(config, yamlOf(`http://127.0.0.1:${proxy.port}`));
  const fleet = new Fleet(config, plant === undefined ? {} : { MILLRACE_PLANT: plant }, 1);
  over.defer(() => fleet.dispose());
  await fleet.fill();
  const [gateway] = fleet.gateways;
  if (!gateway) throw new Error('it was started');
  const callers = new Callers(seeded(seed + 1), () => fleet.urls);
  over.defer(() => callers.close());
  const sync = over.use(new SyncCallers(gateway.url, timeoutMs));
  const disturber = new Disturber(proxy, seeded(seed + 3), disturbedMs);

  const enough = new AbortController();
  const loading = Promise.all([callers.load(Infinity, 300, enough.signal), sync.load(enough.signal)]);
  for (let round = 0; round < rounds; round++) {
    await Promise.all([callers.working(), sync.working()]);
    await disturber.disturb();
    log?.(`round ${round}: ${disturber.last}, ${sync.summary}, ${callers.accepted.length} accepted`);
  }
  enough.abort();
  await loading;
  const told = await readLedgers(gateway, callers.accepted);
  const codes = await fleet.stop();
  const complaints = [...callers.complaints, ...fleet.complaints];
  if (codes.some((code) => code !== 0)) complaints.push(`the gateway stopped with ${codes.join(' and ')}`);
  const runs = Map.groupBy(
    executions.filter(({ event }) => event === 'start'),
    ({ callId }) => callId,
  );
  const history: History = {
    ...told,
    accepted: callers.accepted,
    unknown: new Set([...callers.unknown, ...sync.ids]),
    executions,
    attemptsOf,
    dying: new Set(['fail-always', 'crash']),
    kills: 0,
    // What is cut off, or takes too long, may be so again while the network fails.
    atRisk: rounds * Math.ceil(1 + disturbedMs / timeoutMs) * concurrency * Object.keys(attemptsOf).length,
    complaints,
  };
  return { sync, history, repeated: sync.ids.filter((id) => (runs.get(id)?.length ?? 0) > 1) };
}

/** What did not hold. */
export function brokenUpstream({ sync, history, repeated }: UpstreamRun): string[] {
  // Bytes of an attempt that was given up may arrive late, and run beside what came after it: no gateway can help that.
  const { outOfOrder } = check({ ...history, executions: untilFirstEnd(history.executions) });
  const wrong = broken({ ...check(history), outOfOrder });
  if (repeated.length > 0)
    wrong.push(`${repeated.length} sync calls ran more than once: ${repeated.slice(0, 5).join(', ')}`);
  return [...wrong, ...sync.complaints, ...sync.late];
}

/** In one line, what was seen. */
export function upstreamSummary({ sync, history, repeated }: UpstreamRun): string {
  const { lost, duplicates } = check(history);
  const accepted = history.accepted.length.toLocaleString('en');
  return `${sync.summary}, ${repeated.length} repeated; ${accepted} async accepted, ${lost.length} lost, ${duplicates} duplicates`;
}

function untilFirstEnd(executions: readonly Execution[]): readonly Execution[] {
  const ended = new Set<string>();
  return executions.filter(({ callId, event }) => {
    const isLate = ended.has(callId);
    if (event === 'end') ended.add(callId);
    return !isLate;
  });
}

/** All of the functions: each does what its name says, and `echo` answers with what it was sent. */
async function run(executions: Execution[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, name = ''] = /^\/([a-z-]+)/.exec(request.url ?? '') ?? [];
  const callId = String(request.headers['x-call-id']);
  const attempt = 1 + Number(request.headers['x-retry'] ?? 0);
  executions.push({ callId, function: name, attempt, event: 'start' });
  const body = await bodyOf(request).catch(() => undefined);
  // So long that a connection is mostly broken off while its function runs.
  await delay(Math.random() * (name === 'echo' ? 100 : 10));
  executions.push({ callId, function: name, attempt, event: 'end' });
  if (!body) return; // It broke off.
  if (name === 'crash') request.socket.destroy();
  else if (name === 'echo') response.end(Buffer.concat([Buffer.from(`${callId} `), body]));
  else if (name === 'fail-always' || (name === 'fail-once' && attempt === 1)) response.writeHead(500).end('it fails');
  else response.end('done');
}

function yamlOf(url: string): string {
  const functions = ['echo', ...Object.keys(attemptsOf)].map((name) => {
    const attempts = name === 'fail-always' || name === 'crash' ? 3 : 60;
    const retry = `retry: { attempts: ${attempts}, backoff: { kind: fixed, initial: 100ms, jitter: none } }`;
    const calls = name === 'echo' ? 64 : concurrency;
    return `  ${name}: { url: "${url}/${name}", invoke: { timeout: ${timeoutMs}ms, concurrency: ${calls}, ${retry} } }`;
  });
  return `
gateway: { listen: { port: 0 }, management: { port: 0 } }
${sqlite.yaml('')}
stores: { default: { kind: memory } }
providers: { http: { kind: http, connectTimeout: 1s } }
connectors: { http: { kind: http } }
functions:
${functions.join('\n')}
observability: { logs: { format: json, level: info } }
`;
}
