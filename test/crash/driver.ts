import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';
import type { AcceptedCall, DeadRecord, Execution, History, Terminal } from './checker.ts';

export interface Plan {
  readonly seed: number;
  readonly rounds: number;
  /** Invocations to send in all; the rounds share them. */
  readonly calls: number;
  /** Named failpoints, used in turn between kills at random moments. */
  readonly failpoints: readonly string[];
  /** The `queues` of the configuration, and what they need; the embedded queue without. */
  readonly queues?: string;
  /** Between two kills: what else goes wrong meanwhile. */
  readonly meanwhile?: (round: number) => Promise<void>;
  /** A bug to plant. */
  readonly plant?: string;
  readonly log?: (text: string) => void;
}

const functions = ['ok', 'fail-once', 'fail-always', 'crash', 'keyed'] as const;
/** How often each is called; a crash costs a new thread for every attempt, so there are few. */
const shareOf = { ok: 0.5, 'fail-once': 0.15, 'fail-always': 0.13, crash: 0.02, keyed: 0.2 } as const;
const concurrencyOf = { ok: 8, 'fail-once': 4, 'fail-always': 4, crash: 2, keyed: 8 } as const;
const keys = 40;

const folder = join(import.meta.dirname, 'functions');

function configuration(ledger: string, queues = 'queues:\n  default: { kind: sqlite, path: queue.db }'): string {
  const entries = functions.map(
    (name) => `
  ${name}:
    module: ${join(folder, `${name}.ts`)}
    env: { LEDGER: ${ledger} }
    ${name === 'ok' || name === 'keyed' ? 'isolation: none' : 'pool: { max: 2 }'}
    invoke: { timeout: 10s, concurrency: ${concurrencyOf[name]}, retry: quick }`,
  );
  return `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  shutdown: { drain: 20s }
policies:
  retry:
    quick:
      attempts: 30
      backoff: { kind: fixed, initial: 20ms, jitter: none }
    three:
      attempts: 3
      backoff: { kind: fixed, initial: 20ms, jitter: none }
${queues}
stores:
  default: { kind: memory }
functions:${entries.join('')}
observability: { logs: { format: json, level: info } }
`.replaceAll(/(fail-always|crash):\n((?:.*\n)*?.*)retry: quick/g, '$1:\n$2retry: three');
}

/**
 * Sends invocations to a gateway that is killed over and over, then lets it finish, and returns the ledgers. Repeatable
 * in its choices (functions, keys, moments, failpoints) by the seed, though not in the scheduling of the machine.
 */
export async function crashRun(plan: Plan): Promise<History> {
  const random = seeded(plan.seed);
  const home = mkdtempSync(join(tmpdir(), 'millrace-crash-'));
  const ledger = join(home, 'executions.jsonl');
  writeFileSync(ledger, '');
  const config = join(home, 'millrace.yaml');
  writeFileSync(config, configuration(ledger, plan.queues));
  process.env['LEDGER'] = ledger;

  const accepted: AcceptedCall[] = [];
  const unknown = new Set<string>();
  const orders = new Map<string, number>();
  let sent = 0;
  let kills = 0;

  const planted: Record<string, string> = plan.plant === undefined ? {} : { MILLRACE_PLANT: plan.plant };
  for (let round = 0; round < plan.rounds; round++) {
    const failpoint = round % 2 === 1 ? plan.failpoints[(round >> 1) % plan.failpoints.length] : undefined;
    const nth = 1 + Math.floor(random() * 40);
    const env = { ...planted, LEDGER: ledger, ...(failpoint && { MILLRACE_FAIL: `${failpoint}:${nth}` }) };
    const started = await startGateway(config, env).catch((error: unknown) => {
      // A failpoint may be reached while the gateway recovers: that is a kill like any other.
      if (failpoint) return undefined;
      throw error;
    });
    kills++;
    if (!started) continue;
    const gateway = started;
    const quota = Math.ceil((plan.calls - sent) / (plan.rounds - round));
    const loading = load(gateway, quota);
    const disturbing = plan.meanwhile?.(round);
    if (failpoint) await Promise.race([gateway.ended, delay(4000)]);
    else await delay(50 + random() * 1200);
    gateway.child.kill('SIGKILL');
    const how = await gateway.ended;
    sent += await loading;
    await disturbing;
    plan.log?.(
      `round ${round}: ${failpoint ? `${failpoint}:${nth}` : 'random moment'}, ${how}, ${accepted.length} accepted`,
    );
  }

  const gateway = await startGateway(config, { ...planted, LEDGER: ledger });
  // What the kills left unsent is sent to the survivor, so that the number of calls does not depend on luck.
  if (sent < plan.calls) sent += await load(gateway, plan.calls - sent);
  const history = await settled(gateway);
  const code = await stopGateway(gateway);
  if (code !== 0) throw new Error(`the gateway stopped with ${code}`);
  return history;

  /** Sends until the quota is reached or nobody answers any more; returns how many were sent. */
  async function load(gateway: GatewayProcess, quota: number): Promise<number> {
    const pool = new Pool(gateway.url, { connections: 32, pipelining: 1 });
    let count = 0;
    let down = false;
    const sender = async (worker: number): Promise<void> => {
      while (count < quota && !down) {
        count++;
        down = !(await call(pool, worker));
      }
    };
    await Promise.all(Array.from({ length: 32 }, (_, worker) => sender(worker)));
    await pool.destroy();
    return count;
  }

  /** False when there was no answer. */
  async function call(pool: Pool, worker: number): Promise<boolean> {
    const name = pickFunction(random());
    // Only one sender uses a key: the order of acceptance is then known.
    const key = name === 'keyed' ? `k${worker + 32 * Math.floor((random() * keys) / 32)}` : undefined;
    const number = key === undefined ? 0 : (orders.get(key) ?? 0) + 1;
    if (key !== undefined) orders.set(key, number);
    const callId = randomBytes(8).toString('hex');
    const body = randomBytes(16 + Math.floor(random() * 500));
    try {
      const answer = await pool.request({
        method: 'POST',
        path: `/async-function/${name}`,
        headers: {
          'x-call-id': callId,
          'x-priority': String(Math.floor(random() * 10)),
          ...(key && { 'x-order-key': key }),
        },
        body,
      });
      await answer.body.dump();
      if (answer.statusCode !== 202) throw new Error(`status ${answer.statusCode}`);
      accepted.push({
        callId,
        id: String(answer.headers['x-invocation-id']),
        function: name,
        body: createHash('sha256').update(body).digest('hex'),
        order: key === undefined ? undefined : { key, number },
      });
      return true;
    } catch {
      unknown.add(callId);
      return false;
    }
  }

  async function settled(survivor: GatewayProcess): Promise<History> {
    const pool = new Pool(survivor.url, { connections: 16 });
    const json = async <T>(path: string): Promise<T> =>
      (await (await pool.request({ method: 'GET', path })).body.json()) as T;
    interface Row {
      readonly level: string;
      readonly ready: number;
      readonly blocked: number;
      readonly delayed: number;
      readonly leased: number;
    }
    for (;;) {
      const queues = await json<readonly Row[]>('/system/queues');
      const left = queues
        .filter(({ level }) => level === 'function')
        .reduce((sum, { ready, blocked, delayed, leased }) => sum + ready + blocked + delayed + leased, 0);
      if (left === 0) break;
      await delay(100);
    }
    const terminals: Terminal[] = [];
    await inBatches(accepted, 64, async ({ id }) => {
      const record = await json<{ state?: string }>(`/invocations/${id}`);
      if (record.state !== undefined) terminals.push({ id, state: record.state });
    });
    const dead = await deadLetters(pool, json);
    const metrics = await (await fetch(`${survivor.management}/metrics`)).text();
    const drifts = [...metrics.matchAll(/^millrace_queue_conservation_drift\{.*\} (-?\d+)$/gm)].map(([, value]) =>
      Number(value),
    );
    await pool.close();
    return {
      accepted,
      unknown,
      executions: readFileSync(ledger, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Execution),
      terminals,
      dead,
      attemptsOf: { ok: 1, keyed: 1, 'fail-once': 2, 'fail-always': 3, crash: 3 },
      dying: new Set(['fail-always', 'crash']),
      kills,
      concurrency: Object.values(concurrencyOf).reduce((sum, one) => sum + one, 0),
      drift: drifts.length === 0 ? Number.NaN : drifts.reduce((sum, one) => sum + Math.abs(one), 0),
    };
  }
}

function pickFunction(draw: number): (typeof functions)[number] {
  let left = draw;
  for (const name of functions) {
    left -= shareOf[name];
    if (left < 0) return name;
  }
  return 'ok';
}

async function deadLetters(pool: Pool, json: <T>(path: string) => Promise<T>): Promise<DeadRecord[]> {
  interface Letter {
    readonly id: string;
    readonly reason: string;
    readonly attempt: number;
    readonly errors: readonly unknown[];
  }
  const letters: Letter[] = [];
  for (let cursor: string | undefined = ''; cursor !== undefined;) {
    const suffix: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page: { items: Letter[]; cursor?: string } = await json(`/system/dead-letters?limit=200${suffix}`);
    letters.push(...page.items);
    cursor = page.cursor ?? undefined;
  }
  const records: DeadRecord[] = [];
  await inBatches(letters, 32, async ({ id, reason, attempt, errors }) => {
    const answer = await pool.request({ method: 'GET', path: `/system/dead-letters/${id}/body` });
    const body = createHash('sha256')
      .update(await answer.body.bytes())
      .digest('hex');
    records.push({ id, reason, body, attempts: attempt, errors: errors.length });
  });
  return records;
}

async function inBatches<T>(items: readonly T[], size: number, run: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += size) await Promise.all(items.slice(start, start + size).map(run));
}

/** mulberry32: small, and the same on every machine. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
