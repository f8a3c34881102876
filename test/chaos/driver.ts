import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Callers } from './callers.ts';
import { check, type Execution, type History } from './checker.ts';
import { configuration, type CrashFunction } from './configuration.ts';
import { Fleet } from './fleet.ts';
import { readLedgers } from './ledgers.ts';
import type { LoopDisk, SmallDisk } from './machine/disks.ts';
import { reachBroker } from './network.ts';
import { commonFailpoints, type CrashQueue } from './queues.ts';
import { seeded } from './random.ts';
import { strike, type Outage, type Strike } from './strikes.ts';

export interface Plan {
  readonly seed: number;
  readonly queue: CrashQueue;
  /** Gateways that serve at the same time; those of a queue with a broker share it. */
  readonly gateways: number;
  /** One for each round. */
  readonly strikes: readonly Strike[];
  /** Invocations to be accepted in all. */
  readonly calls: number;
  /**
   * How long each of the callers waits between two calls, on average. 0: as many as can be, each round its share of
   * `calls`; otherwise all through each round.
   */
  readonly paceMs: number;
  /** Used in turn; without, those of the core and of the queue. */
  readonly failpoints?: readonly string[];
  readonly stallMs?: number;
  /** Where the gateway keeps its files; without, in a folder of the machine. */
  readonly disk?: LoopDisk | SmallDisk;
  /** How long the network fails at most, each time; 2 s unless it is said. */
  readonly disturbedMs?: number;
  /** A bug to plant. */
  readonly plant?: string;
  readonly log?: (text: string) => void;
}

const functions: readonly CrashFunction[] = [
  { name: 'ok', inline: true, concurrency: 8, attempts: 60 },
  { name: 'keyed', inline: true, concurrency: 8, attempts: 60 },
  { name: 'fail-once', inline: false, concurrency: 4, attempts: 60 },
  { name: 'fail-always', inline: false, concurrency: 4, attempts: 3 },
  { name: 'crash', inline: false, concurrency: 2, attempts: 3 },
  { name: 'probe', inline: true, concurrency: 8, attempts: 60 },
];
/** Of one gateway: what runs, and as much again that has run and is being settled. */
const inFlight = 2 * functions.reduce((sum, one) => sum + one.concurrency, 0);

/** What was seen of a run, and how long its outages were felt. */
export interface Run {
  readonly history: History;
  readonly outages: readonly Outage[];
}

/** In one line, what was done and what came of it. */
export function summary({ history, outages }: Run): string {
  const { lost, duplicates, duplicatesAllowed } = check(history);
  const slowest = Math.max(0, ...outages.map(({ backMs }) => backMs));
  const returned = outages.length === 0 ? '' : ` (slowest return ${slowest.toFixed()} ms)`;
  return (
    `${history.accepted.length.toLocaleString('en')} accepted, ${history.kills} gateways killed, ${outages.length} outages${returned}, ` +
    `${lost.length} lost, ${duplicates} duplicates of ${duplicatesAllowed} allowed`
  );
}

/**
 * Calls gateways while they and their broker are struck over and over, then lets them finish, and returns the ledgers.
 * Repeatable in its choices (functions, keys, moments, failpoints) by the seed, though not in the scheduling of the
 * machine.
 */
export async function crashRun(plan: Plan): Promise<Run> {
  const { seed, queue, strikes, gateways, calls, paceMs, stallMs = 20_000, disturbedMs = 2000, plant, log } = plan;
  const { disk } = plan;
  const random = seeded(seed);
  const home = mkdtempSync(join(tmpdir(), 'millrace-crash-'));
  const ledger = join(home, 'executions.jsonl');
  const config = join(home, 'millrace.yaml');
  const reach = { settings: queue.settings, seed, disturbedMs: strikes.includes('network') ? disturbedMs : undefined };
  await using reached = queue.broker && (await reachBroker(queue.broker, reach));
  const { broker, url, disturber } = reached ?? {};
  if (broker) await queue.prepare?.(broker);
  const keptAt = url ?? disk?.folder ?? home;
  writeFileSync(config, configuration(queue.yaml(keptAt), functions, ledger, { store: queue.store?.(keptAt) }));
  const env = { LEDGER: ledger, ...(plant !== undefined && { MILLRACE_PLANT: plant }) };
  const fleet = new Fleet(config, env, gateways);
  const callers = new Callers(seeded(seed + 1), () => fleet.urls);
  const failpoints = plan.failpoints ?? [...commonFailpoints, ...queue.failpoints];
  const outages: Outage[] = [];
  /** Attempts that may have run when something was struck. */
  let atRisk = 0;
  let named = 0;
  let hit = 0;
  try {
    for (const [round, kind] of strikes.entries()) {
      const place = hit % gateways;
      let failpoint: string | undefined;
      if (kind === 'failpoint') {
        failpoint = `${failpoints[named++ % failpoints.length]}:${1 + Math.floor(random() * 40)}`;
        // It has to be told at its start.
        await fleet.kill(place);
      }
      await fleet.fill(place, failpoint);
      const over = new AbortController();
      const share = Math.ceil((calls - callers.accepted.length) / (strikes.length - round));
      const goal = paceMs === 0 ? callers.accepted.length + share : Infinity;
      const loading = callers.load(goal, paceMs, over.signal);
      const outage = await strike(kind, place, { fleet, callers, broker, disk, random, stallMs, disturber });
      over.abort();
      await loading;
      if (['gateway', 'failpoint', 'both', 'power'].includes(kind)) hit++;
      else atRisk += gateways * inFlight;
      if (outage) outages.push(outage);
      const felt = outage ? `, ${outage.told}, back after ${outage.backMs.toFixed()} ms` : '';
      log?.(`round ${round}: ${kind} ${failpoint ?? ''}, ${callers.accepted.length} accepted${felt}`);
    }
    await fleet.fill();
    // What is still missing is sent to the survivors, so that the number of calls does not depend on luck.
    await callers.load(calls, 0, new AbortController().signal);
    const [survivor] = fleet.gateways;
    if (!survivor) throw new Error('no gateway is left');
    const told = await readLedgers(survivor, callers.accepted);
    const { kills } = fleet;
    const codes = await fleet.stop();
    const complaints = [...callers.complaints, ...fleet.complaints];
    if (codes.some((code) => code !== 0)) complaints.push(`the gateways stopped with ${codes.join(' and ')}`);
    const history: History = {
      ...told,
      accepted: callers.accepted,
      unknown: callers.unknown,
      executions: readFileSync(ledger, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Execution),
      attemptsOf: { ok: 1, keyed: 1, probe: 1, 'fail-once': 2, 'fail-always': 3, crash: 3 },
      dying: new Set(['fail-always', 'crash']),
      kills,
      atRisk: atRisk + kills * inFlight,
      complaints,
    };
    return { history, outages };
  } finally {
    await callers.close();
    await fleet.dispose();
    rmSync(home, { recursive: true, force: true });
  }
}
