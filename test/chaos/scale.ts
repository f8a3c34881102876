import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Callers } from './callers.ts';
import type { Execution, History } from './checker.ts';
import { configuration, type CrashFunction } from './configuration.ts';
import { Fleet } from './fleet.ts';
import { readLedgers } from './ledgers.ts';
import { reachBroker } from './network.ts';
import { jetstream } from './queues.ts';
import { seeded } from './random.ts';

export interface ScalePlan {
  readonly seed: number;
  readonly gateways: number;
  /** Invocations to be accepted, all of them by the first gateway; and as many again, while the last one is killed. */
  readonly calls: number;
  /** Each gateway has a queue of its own: the mistake that a test of this must find. */
  readonly apart?: boolean;
}

const ok: CrashFunction = { name: 'ok', inline: true, concurrency: 8, attempts: 60 };
const callers = 32;
/** So long is waited until each has run something. */
const sharedMs = 60_000;

/** What came of it. */
export interface ScaleRun {
  /** Before the kill. */
  readonly undisturbed: History;
  /** Of these, those that were made until each gateway took part. */
  readonly warmedUpBy: number;
  /** How many attempts each gateway began since. */
  readonly shares: readonly number[];
  /** At the end, all in all. */
  readonly history: History;
}

/** So many gateways on one JetStream; all calls go to the first one, so that what the others run has come to them by the queue. */
export async function scaleRun({ seed, gateways, calls, apart = false }: ScalePlan): Promise<ScaleRun> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-scale-'));
  const ledger = join(home, 'executions.jsonl');
  const config = join(home, 'millrace.yaml');
  await using reached = await reachBroker('nats', { seed });
  const shared = jetstream.yaml(reached.url);
  const queue = apart
    ? shared.replace('connection: broker }', 'connection: broker, streams: "own-${PLACE}" }')
    : shared;
  writeFileSync(ledger, '');
  writeFileSync(config, configuration(queue, [ok], ledger));
  const fleet = new Fleet(config, { LEDGER: ledger }, gateways);
  const calling = new Callers(seeded(seed), () => fleet.urls);
  try {
    await fleet.fill();
    if (!apart) await sharing();
    const warmedUpBy = calling.accepted.length;
    const before = sharesOf(await readExecutions(), gateways);
    await load();
    const undisturbed = await historyOf();
    const loading = load();
    await calling.working();
    await fleet.kill(gateways - 1);
    await loading;
    const ended = await historyOf();
    const codes = await fleet.stop();
    const complaints = [...ended.complaints];
    if (codes.some((code) => code !== 0)) complaints.push(`the gateways stopped with ${codes.join(' and ')}`);
    const shares = sharesOf(undisturbed.executions, gateways).map((share, place) => share - (before[place] ?? 0));
    return { undisturbed, warmedUpBy, shares, history: { ...ended, complaints } };
  } finally {
    await calling.close();
    await fleet.dispose();
    rmSync(home, { recursive: true, force: true });
  }

  /**
   * Calls until each gateway has run one: one that has had nothing to do looks for the work of others now and then only, and
   * may come when all is done.
   */
  async function sharing(): Promise<void> {
    const giveUpAt = performance.now() + sharedMs;
    while (sharesOf(await readExecutions(), gateways).includes(0)) {
      if (performance.now() > giveUpAt) return; // Then the shares will say it.
      await calling.send(fleet.at(0)?.url ?? '', ok.name);
    }
  }

  async function readExecutions(): Promise<Execution[]> {
    const lines = (await readFile(ledger, 'utf8')).split('\n');
    // The last one may be half written.
    return lines.slice(0, -1).map((line) => JSON.parse(line) as Execution);
  }

  async function load(): Promise<void> {
    const url = fleet.at(0)?.url ?? '';
    let left = calls;
    const one = async (): Promise<void> => {
      while (left-- > 0) await calling.send(url, ok.name);
    };
    await Promise.all(Array.from({ length: callers }, one));
  }

  async function historyOf(): Promise<History> {
    const first = fleet.at(0);
    if (!first) throw new Error('the first gateway has ended by itself');
    const accepted = [...calling.accepted];
    const told = await readLedgers(first, accepted);
    return {
      ...told,
      accepted,
      unknown: calling.unknown,
      executions: await readExecutions(),
      attemptsOf: { ok: 1 },
      dying: new Set(),
      kills: fleet.kills,
      // What runs, and as much again that has run and is being settled.
      atRisk: fleet.kills * 2 * ok.concurrency,
      complaints: [...calling.complaints, ...fleet.complaints],
    };
  }
}

function sharesOf(executions: readonly Execution[], gateways: number): number[] {
  const begun = executions.filter(({ event }) => event === 'start');
  return Array.from({ length: gateways }, (_, place) => begun.filter((each) => each.place === String(place)).length);
}
