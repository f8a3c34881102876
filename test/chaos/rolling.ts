import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startBroker } from '../support/brokers.ts';
import { Balancer } from './balancer.ts';
import type { Execution } from './checker.ts';
import { configuration } from './configuration.ts';
import { Fleet } from './fleet.ts';
import { readLedgers } from './ledgers.ts';
import type { CrashQueue } from './queues.ts';

const replicas = 3;
const callers = 12;
const longestMs = 100;
/** More than the balancer takes to see it, on a slow machine too. */
const noticed = '1s';

export interface Rolls {
  /** Sync calls that were answered with their own answer. */
  readonly answered: number;
  /** What became of the other ones. */
  readonly failed: readonly string[];
  /** Accepted for later. */
  readonly accepted: number;
  /** Ids of all of these that never ran. */
  readonly lost: readonly string[];
  /** And of those that ran more than once. */
  readonly repeated: readonly string[];
  /** From SIGTERM to the end of the process, the slowest, ms. */
  readonly slowestStopMs: number;
  readonly complaints: readonly string[];
}

/** In one line, what was seen. */
export function rollSummary({ answered, failed, accepted, repeated }: Rolls, rolls: number): string {
  const [all, later] = [answered + failed.length, accepted].map((count) => count.toLocaleString('en'));
  return `${rolls} rolls, ${all} sync and ${later} async calls, ${failed.length} failed, ${repeated.length} duplicates`;
}

/** Stops and replaces one of three gateways after the other, so many times, while clients call them through a balancer. */
export async function rollingRestart(queue: CrashQueue, rolls: number, plant?: string): Promise<Rolls> {
  await using over = new AsyncDisposableStack();
  const home = mkdtempSync(join(tmpdir(), 'millrace-rolling-'));
  over.defer(() => rmSync(home, { recursive: true, force: true }));
  const broker = over.use(await startBroker(queue.broker ?? 'redis', { settings: queue.settings ?? [] }));
  const ledger = join(home, 'executions.jsonl');
  const config = join(home, 'millrace.yaml');
  const functions = [{ name: 'message', inline: true, concurrency: 32, attempts: 3 }];
  writeFileSync(config, configuration(queue.yaml(broker.url), functions, ledger, { notice: noticed }));
  const env = { LEDGER: ledger, LONGEST_MS: String(longestMs), ...(plant !== undefined && { MILLRACE_PLANT: plant }) };
  const fleet = new Fleet(config, env, replicas);
  over.defer(() => fleet.dispose());
  const balancer = over.use(new Balancer());
  await fleet.fill();
  for (const url of fleet.urls) balancer.add(url);
  await until(() => balancer.ready.length === replicas);

  const clients = new Clients(balancer);
  const loading = clients.load();
  let slowestStopMs = 0;
  const complaints: string[] = [];
  for (let roll = 0; roll < rolls; roll++) {
    await clients.answers(20);
    const place = roll % replicas;
    const toldAt = performance.now();
    complaints.push(...(await fleet.leave(place)));
    slowestStopMs = Math.max(slowestStopMs, performance.now() - toldAt);
    await fleet.fill();
    const fresh = fleet.at(place);
    if (!fresh) throw new Error('a gateway was started in its place');
    balancer.add(fresh.url);
    await until(() => balancer.ready.includes(fresh.url));
  }
  clients.stop();
  await loading;
  const [survivor] = fleet.gateways;
  if (!survivor) throw new Error('no gateway is left');
  await readLedgers(survivor, []);
  const runs = runsIn(ledger);
  const ids = [...clients.answered, ...clients.accepted];
  return {
    answered: clients.answered.length,
    failed: clients.failed,
    accepted: clients.accepted.length,
    lost: ids.filter((id) => !runs.has(id)),
    repeated: [...runs].flatMap(([id, count]) => (count > 1 ? id : [])),
    slowestStopMs,
    complaints: [...complaints, ...fleet.complaints],
  };
}

/** Some call and wait for the answer, and some leave it to the queue; one call after the other each. */
class Clients {
  readonly answered: string[] = [];
  readonly accepted: string[] = [];
  readonly failed: string[] = [];
  readonly #balancer: Balancer;
  #count = 0;
  #isOver = false;

  constructor(balancer: Balancer) {
    this.#balancer = balancer;
  }

  async load(): Promise<void> {
    await Promise.all(
      Array.from({ length: callers }, async (_, caller) => {
        while (!this.#isOver) await this.#call(caller % 4 === 0);
      }),
    );
  }

  stop(): void {
    this.#isOver = true;
  }

  /** Resolves when so many more have been answered. */
  async answers(count: number): Promise<void> {
    const enough = this.answered.length + count;
    await until(() => this.answered.length >= enough);
  }

  async #call(isAsync: boolean): Promise<void> {
    const id = `call-${this.#count++}`;
    const path = isAsync ? '/async-function/message' : '/function/message';
    const told = await this.#balancer.send(path, id, `${id} ok`).catch((error: unknown) => String(error));
    if (typeof told === 'string') this.failed.push(`${path} ${id}: ${told}`);
    else if (isAsync && told.status === 202) this.accepted.push(id);
    else if (!isAsync && told.status === 200 && told.text === 'done' && told.callId === id) this.answered.push(id);
    else this.failed.push(`${path} ${id} was answered with ${told.status} ${told.text}`);
  }
}

function runsIn(ledger: string): ReadonlyMap<string, number> {
  const runs = new Map<string, number>();
  for (const line of readFileSync(ledger, 'utf8').split('\n').filter(Boolean)) {
    const { callId, event } = JSON.parse(line) as Execution;
    if (event === 'start') runs.set(callId, (runs.get(callId) ?? 0) + 1);
  }
  return runs;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5);
}
