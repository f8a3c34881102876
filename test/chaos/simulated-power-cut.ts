import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { isWhole } from '../../plugins/queues/sqlite/sums.ts';
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { Callers } from './callers.ts';
import { configuration, type CrashFunction } from './configuration.ts';
import { SimulatedDisk } from './machine/simulated-disk.ts';
import { readTrace, traced, type TraceEvent } from './machine/trace.ts';
import { sqlite } from './queues.ts';
import { seeded } from './random.ts';

const functions: readonly CrashFunction[] = ['ok', 'keyed', 'fail-once', 'fail-always', 'crash'].map((name) => ({
  name,
  inline: name !== 'crash',
  concurrency: 4,
  attempts: 3,
}));
const tracedWithinMs = 60_000;

/** What a gateway did to its files, from its first start to its stop, while that many calls were accepted. */
export async function recorded(seed: number, calls: number, plant?: string): Promise<readonly TraceEvent[]> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-traced-'));
  const trace = join(home, 'trace');
  const config = join(home, 'millrace.yaml');
  const ledger = join(home, 'executions.jsonl');
  // Its folder is there before, or the simulation would have to know of its making.
  const files = join(home, 'files');
  mkdirSync(files);
  writeFileSync(config, configuration(sqlite.yaml(files), functions, ledger, { store: sqlite.store?.(files) }));
  const env = { LEDGER: ledger, ...(plant !== undefined && { MILLRACE_PLANT: plant }) };
  const gateway = await startGateway(config, env, { through: traced(trace) });
  const callers = new Callers(seeded(seed), () => [gateway.url]);
  try {
    await callers.load(calls, 0, new AbortController().signal);
    const code = await stopGateway(gateway);
    if (code !== 0) throw new Error(`the gateway ended with ${code}:\n${gateway.log.slice(-5).join('\n')}`);
    // It has a column for numbers of five digits.
    await written(trace, new RegExp(`^${gateway.child.pid} +\\+\\+\\+ exited with 0`, 'm'));
    return await readTrace(trace, files);
  } finally {
    gateway.child.kill('SIGKILL');
    await callers.close();
    rmSync(home, { recursive: true, force: true });
  }
}

/** Resolves when the end of the file has that line. */
async function written(file: string, line: RegExp): Promise<void> {
  const giveUpAt = performance.now() + tracedWithinMs;
  await using trace = await open(file);
  const end = Buffer.alloc(2 ** 16);
  for (;;) {
    const { size } = await trace.stat();
    const { bytesRead } = await trace.read(end, 0, end.byteLength, Math.max(0, size - end.byteLength));
    const text = end.toString('latin1', 0, bytesRead);
    if (line.test(text)) return;
    if (performance.now() > giveUpAt) throw new Error(`strace has not written ${line.source}, but ${text.slice(-300)}`);
    await delay(20);
  }
}

/** What was wrong after the crashes. */
export interface Wreck {
  /** Crashes that lost what had been answered. */
  readonly losing: number;
  /** The most that one of them lost. */
  readonly mostLost: number;
  /** What SQLite said of files that it does not take for whole. */
  readonly damaged: readonly string[];
}

/** Cuts the power at that many random moments of what was recorded, and looks at what is left. */
export function crash(events: readonly TraceEvent[], seed: number, count: number): Wreck {
  const random = seeded(seed);
  const moments = Array.from({ length: count }, () => Math.floor(random() * (events.length + 1)));
  moments.sort((one, other) => one - other);
  const disk = new SimulatedDisk();
  const answered: string[] = [];
  const damaged: string[] = [];
  let at = 0;
  let losing = 0;
  let mostLost = 0;
  for (const moment of moments) {
    for (const event of events.slice(at, moment)) {
      if (event.kind === 'answer') answered.push(event.id);
      else disk.apply(event);
    }
    at = moment;
    const { ids, problem } = recover(disk.crash(random));
    if (problem !== undefined) damaged.push(`after ${moment} of ${events.length} events: ${problem}`);
    const lost = answered.filter((id) => !ids.has(id)).length;
    mostLost = Math.max(mostLost, lost);
    if (lost > 0) losing++;
  }
  return { losing, mostLost, damaged };
}

/** Opens what a crash has left as SQLite does, and tells which messages are there. */
function recover(files: ReadonlyMap<string, Buffer>): { readonly ids: ReadonlySet<string>; readonly problem?: string } {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-wreck-'));
  try {
    for (const [path, bytes] of files) writeFileSync(join(folder, basename(path)), bytes);
    const store = problemOf(join(folder, 'store.db'));
    if (store !== undefined) return { ids: new Set(), problem: `store: ${store}` };
    const path = join(folder, 'queue.db');
    const queue = problemOf(path);
    if (queue !== undefined) return { ids: new Set(), problem: `queue: ${queue}` };
    return messagesOf(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function problemOf(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  try {
    using database = opened(path);
    const [row] = database.prepare('PRAGMA integrity_check(1)').all();
    return row?.['integrity_check'] === 'ok' ? undefined : String(row?.['integrity_check']);
  } catch (error) {
    return (error as Error).message;
  }
}

function messagesOf(path: string): ReturnType<typeof recover> {
  const ids = new Set<string>();
  if (!existsSync(path)) return { ids };
  using database = opened(path);
  // The power went before the tables were made.
  if (database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'message'").get() === undefined) return { ids };
  const rows = database
    .prepare(
      `SELECT m.id, lane.name, text, text_sum, body, body_sum
       FROM message m JOIN content USING (seq) JOIN lane ON lane.id = m.lane`,
    )
    .all();
  for (const { id, name, text, text_sum: textSum, body, body_sum: bodySum } of rows) {
    const isAsWritten = (sum: unknown, part: unknown): boolean =>
      isWhole(Number(sum), String(id), String(name), part as string | Uint8Array);
    if (!isAsWritten(textSum, text) || (body !== null && !isAsWritten(bodySum, body))) {
      return { ids, problem: `the sums of message ${String(id)} are wrong` };
    }
    ids.add(String(id));
  }
  return { ids };
}

function opened(path: string): DatabaseSync {
  const database = new DatabaseSync(path);
  // What is looked at once need not outlive the next power cut.
  database.exec('PRAGMA synchronous = OFF');
  return database;
}
