import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { judge, leastRounds, limit, type Verdict } from './gate.ts';
import { drained, echoModule, post, startGateway } from './gateway.ts';
import { cpuMs, loadCount, median, startSubject, type Subject } from './measure.ts';
import { circumstances } from './page.ts';

const root = join(import.meta.dirname, '..');
const baselineFile = join(import.meta.dirname, 'baseline.json');
const busyModule = join(root, 'bench/servers/busy-echo.ts');
const body = Buffer.alloc(1024, 'e');
const blockCount = 3000;
/** Until V8 has compiled what is measured: before that a call costs several times as much. */
const warmUpCount = 10_000;

interface Baseline {
  readonly commit: string;
  readonly measured: string;
  /** What ratios of CPU depend on: the processor, how many of them, and Node. */
  readonly machine: string;
  /** CPU of ours ÷ CPU of a bare server, by case. */
  readonly ratios: Readonly<Record<string, number>>;
}

/**
 * Has a call, an accept or a drain become dearer since the baseline? A case is CPU per request next to that of a bare server
 * in the same round, so that neither the machine nor what else it does decides. Rounds, five at least, go on until each case is clear, or
 * the time is up. What is not clear then passes: a gate that cries wolf is soon turned off. On a machine of another kind than the
 * baseline's all is told and nothing judged. Resolves with whether it holds.
 */
export async function smoke(seconds: number): Promise<boolean> {
  const baseline = JSON.parse(readFileSync(baselineFile, 'utf8')) as Baseline;
  const found = await rounds(seconds, (so) => judged(so, baseline).every(({ state }) => state !== 'unclear'));
  console.log(`CPU next to ${baseline.commit}, on ${circumstances()}:`);
  if (!judged(found, baseline, tell).some(({ state }) => state === 'regressed')) return true;
  if (baseline.machine !== machine()) {
    console.log(`Not judged: the baseline is of ${baseline.machine}, and this is ${machine()}.`);
    return true;
  }
  console.error(`More than ${limit} × the baseline. \`node --cpu-prof core/main.ts serve\` tells where the time goes.`);
  console.error('If it must be so, take it as the baseline with `npm run bench -- --smoke --write`, and say why.');
  return false;
}

/** Keeps what it measures as the baseline. */
export async function takeBaseline(seconds: number): Promise<void> {
  const found = await rounds(seconds, () => false);
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
  const ratios = Object.fromEntries([...found].map(([name, all]) => [name, Number(median(all).toFixed(3))]));
  const baseline: Baseline = { commit, measured: circumstances().replaceAll('\n', ' '), machine: machine(), ratios };
  writeFileSync(baselineFile, `${JSON.stringify(baseline, undefined, 2)}\n`);
  console.log(baseline);
}

/** The gate's negative control: with 30 % more work in each call it must fail. Resolves with whether it does. */
export async function control(seconds: number): Promise<boolean> {
  await using servers = await startServers();
  await warm(servers);
  const plain = await loadCount(servers.ours, '/function/inline', body, 200, blockCount);
  const planted = await servers.gateway('planted', busyModule, { BUSY_US: String(plain.cpuPerThousand * 0.3) });
  const [own, slow]: [number[], number[]] = [[], []];
  const verdict = (): Verdict => judge(slow, median(own));
  await loadCount(planted, '/function/inline', body, 200, warmUpCount);
  const isUp = timer(seconds);
  while (slow.length < leastRounds || (!isUp() && verdict().state !== 'regressed')) {
    own.push(await callsOf(servers.ours, servers.bare, 'inline'));
    slow.push(await callsOf(planted, servers.bare, 'inline'));
  }
  tell('planted', verdict());
  const isSeen = verdict().state === 'regressed';
  console.log(isSeen ? 'The planted work was seen.' : 'The planted work was not seen: this gate sees nothing.');
  return isSeen;
}

function machine(): string {
  const all = cpus();
  return `${all.length} × ${all[0]?.model}, Node ${process.versions.node.split('.')[0]}`;
}

/** Runs rounds of all cases until `isEnough`, or the time is up. */
async function rounds(
  seconds: number,
  isEnough: (found: ReadonlyMap<string, readonly number[]>) => boolean,
): Promise<Map<string, number[]>> {
  await using servers = await startServers();
  const found = new Map<string, number[]>();
  const isUp = timer(seconds);
  await warm(servers);
  for (let count = 0; count < leastRounds || (!isUp() && !isEnough(found)); count++) {
    for (const [name, ratio] of Object.entries(await round(servers)))
      found.set(name, [...(found.get(name) ?? []), ratio]);
  }
  return found;
}

async function warm({ ours, bare, log }: Servers): Promise<void> {
  for (const name of ['inline', 'pooled']) await loadCount(ours, `/function/${name}`, body, 200, warmUpCount);
  await loadCount(bare, '/', body, 200, warmUpCount);
  await loadCount(log, '/', body, 202, warmUpCount);
  await loadCount(ours, '/async-function/inline', body, 202, warmUpCount);
  await drained(ours, 'inline', 100);
}

async function round({ ours, bare, log }: Servers): Promise<Record<string, number>> {
  const calls = { inline: await callsOf(ours, bare, 'inline'), pooled: await callsOf(ours, bare, 'pooled') };
  const logged = await costOf(log, '/', 202);
  await post(ours, '/system/queues/inline/pause');
  const accepted = await loadCount(ours, '/async-function/inline', body, 202, blockCount);
  const before = cpuMs(ours.pid);
  await drained(ours, 'inline', 100);
  const drain = ((cpuMs(ours.pid) - before) * 1000) / accepted.requests;
  return { ...calls, accept: accepted.cpuPerThousand / logged, drain: drain / logged };
}

async function callsOf(ours: Subject, bare: Subject, name: string): Promise<number> {
  const before = await costOf(bare, '/', 200);
  const own = await costOf(ours, `/function/${name}`, 200);
  return (2 * own) / (before + (await costOf(bare, '/', 200)));
}

async function costOf(subject: Subject, path: string, expected: number): Promise<number> {
  return (await loadCount(subject, path, body, expected, blockCount)).cpuPerThousand;
}

function judged(
  found: ReadonlyMap<string, readonly number[]>,
  { ratios }: Baseline,
  see: (name: string, verdict: Verdict) => void = () => undefined,
): Verdict[] {
  return Object.entries(ratios).map(([name, ratio]) => {
    const verdict = judge(found.get(name) ?? [], ratio);
    see(name, verdict);
    return verdict;
  });
}

function tell(name: string, { times, least, most, rounds: count, state }: Verdict): void {
  console.log(
    `  ${name.padEnd(7)} ${times.toFixed(2)} × (${least.toFixed(2)}–${most.toFixed(2)}, ${count} rounds): ${state}`,
  );
}

function timer(seconds: number): () => boolean {
  const end = performance.now() + seconds * 1000;
  return () => performance.now() > end;
}

/** A gateway and what it is compared with. */
interface Servers extends AsyncDisposable {
  readonly ours: Subject;
  /** A bare node:http server. */
  readonly bare: Subject;
  /** One that syncs a file before it answers. */
  readonly log: Subject;
  gateway(name: string, module: string, env?: Readonly<Record<string, string>>): Promise<Subject>;
}

async function startServers(): Promise<Servers> {
  // On the disk of the sources: a queue in memory would prove nothing.
  const home = mkdtempSync(join(root, '.bench-'));
  const started: Subject[] = [];
  const kept = (subject: Subject): Subject => {
    started.push(subject);
    return subject;
  };
  const gateway: Servers['gateway'] = async (name, module, env) => {
    const functions = `  inline: { module: ${module}, isolation: none, invoke: { concurrency: 256 } }
  pooled: { module: ${module}, pool: { min: 1, max: 1 }, invoke: { concurrency: 64, waiting: 200 } }`;
    return kept(await startGateway(home, name, { functions, env }));
  };
  return {
    ours: await gateway('plain', echoModule),
    bare: kept(await startSubject(['bench/servers/upstream.ts'])),
    log: kept(await startSubject(['bench/servers/log.ts', join(home, 'log')])),
    gateway,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(started.map((subject) => subject.stop()));
      rmSync(home, { recursive: true });
    },
  };
}
