import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import type { AcceptedCall, DeadRecord, Terminal } from './checker.ts';

const drainMs = 120_000;

/** What a gateway at rest tells of all that it, and those before it, ever took. */
export interface Told {
  readonly terminals: readonly Terminal[];
  readonly dead: readonly DeadRecord[];
  /** What the metrics cannot account for. */
  readonly drift: number;
}

interface Lane {
  readonly level: string;
  readonly name: string;
  readonly ready: number;
  readonly blocked: number;
  readonly delayed: number;
  readonly leased: number;
}

/** Waits until nothing is left to do, and then asks what became of everything. */
export async function readLedgers(
  { url, management }: { readonly url: string; readonly management: string },
  accepted: readonly AcceptedCall[],
): Promise<Told> {
  const pool = new Pool(url, { connections: 16 });
  const json = async <T>(path: string): Promise<T> =>
    (await (await pool.request({ method: 'GET', path })).body.json()) as T;
  try {
    await atRest(url);
    const terminals: Terminal[] = [];
    await inBatches(accepted, 64, async ({ id }) => {
      const record = await json<{ state?: string }>(`/invocations/${id}`);
      if (record.state !== undefined) terminals.push({ id, state: record.state });
    });
    const dead = await deadLetters(pool, json);
    const metrics = await (await fetch(`${management}/metrics`)).text();
    const drifts = [...metrics.matchAll(/^millrace_queue_conservation_drift\{.*\} (-?\d+)$/gm)].map(([, value]) =>
      Math.abs(Number(value)),
    );
    return { terminals, dead, drift: drifts.length === 0 ? Number.NaN : drifts.reduce((sum, one) => sum + one, 0) };
  } finally {
    await pool.close();
  }
}

/** Resolves when the gateway at that address has nothing left to do. */
export async function atRest(url: string): Promise<void> {
  const lanes = async (): Promise<readonly Lane[]> => (await (await fetch(`${url}/system/queues`)).json()) as Lane[];
  const giveUpAt = performance.now() + drainMs;
  for (;;) {
    const left = (await lanes()).filter(
      ({ level, ready, blocked, delayed, leased }) => level === 'function' && ready + blocked + delayed + leased > 0,
    );
    if (left.length === 0) return;
    if (performance.now() > giveUpAt) throw new Error(`still not done after ${drainMs} ms: ${JSON.stringify(left)}`);
    await delay(100);
  }
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
