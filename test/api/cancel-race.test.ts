import { randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Pool } from 'undici';
import { expect, it } from 'vitest';
import { seeded } from '../chaos/random.ts';
import { inlinePlugin, testGateway, type TestGateway } from '../support/gateway.ts';
import { ran } from '../support/plugins/inline.ts';
import { saw, seed, times } from '../support/promise.ts';
import { describeWithBroker } from '../support/with-broker.ts';

const forgetful = join(import.meta.dirname, '../support/plugins/forgetful.ts');
const calls = times(300, 5000);

interface Tally {
  /** Told "cancelled" before they had begun. */
  before: number;
  /** Told "running": the function was told to stop. */
  during: number;
  /** Begun, although their caller had been told that they were cancelled. */
  ranAllTheSame: number;
  /** Not cancelled in the end. */
  wentOn: number;
  /** The second time was answered otherwise than the first. */
  notIdempotent: number;
}

/** The function runs four at once, each until it is told to stop: so some wait and some run when they are cancelled. */
function yaml(queue: string): string {
  return `gateway: { listen: { port: 0 }, management: { port: 0 } }
${queue}
functions: { heeds: { behaviour: heeds, invoke: { concurrency: 4, timeout: 60s, retry: once } } }
`;
}

/** Cancels each of so many invocations at a moment drawn at random, from before it is leased to while it runs. */
async function race({ url }: TestGateway, count: number): Promise<Tally> {
  const random = seeded(seed);
  const run = randomUUID();
  const pool = new Pool(url, { connections: 32 });
  const tally: Tally = { before: 0, during: 0, ranAllTheSame: 0, wentOn: 0, notIdempotent: 0 };
  const cancelled: string[] = [];

  async function ask(method: 'GET' | 'POST' | 'DELETE', path: string, body?: string) {
    const answer = await pool.request({ method, path, ...(body !== undefined && { body }) });
    return { ...answer, text: await answer.body.text() };
  }
  async function cancel(id: string): Promise<string> {
    const { statusCode, text } = await ask('DELETE', `/invocations/${id}`);
    expect([statusCode, text]).toEqual([202, expect.anything()]);
    return (JSON.parse(text) as { state: string }).state;
  }
  async function one(index: number): Promise<void> {
    const body = `${run} ${index}`;
    const { headers } = await ask('POST', '/async-function/heeds', body);
    const id = String(headers['x-invocation-id']);
    const draw = random();
    if (draw > 0.3) await wait(draw * 8);
    const state = await cancel(id);
    if (state === 'cancelled') cancelled.push(body);
    tally[state === 'cancelled' ? 'before' : 'during']++;
    // While it still stops, it is still running.
    const again = await cancel(id);
    if (again !== state && again !== 'cancelled') tally.notIdempotent++;
    const { text } = await ask('GET', `/invocations/${id}?wait=20s`);
    if ((JSON.parse(text) as { state: string }).state !== 'cancelled') tally.wentOn++;
    if ((await cancel(id)) !== 'cancelled') tally.notIdempotent++;
  }
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: 24 }, caller));
  await pool.close();
  const begun = new Set(ran);
  tally.ranAllTheSame = cancelled.filter((body) => begun.has(`begun ${body}`)).length;
  return tally;
}

function holds(task: { readonly meta: object }, queue: string, tally: Tally): void {
  expect(tally, `MILLRACE_SEED=${seed}`).toMatchObject({ ranAllTheSame: 0, wentOn: 0, notIdempotent: 0 });
  // Both sides of the race were there.
  expect(Math.min(tally.before, tally.during)).toBeGreaterThan(calls / 50);
  const result = `${queue}: ${tally.before} cancelled before they began, none of which ran, and ${tally.during} while they ran`;
  saw(task, { seed, result });
}

it('what is cancelled before it begins never runs, on SQLite (P26)', { timeout: 600_000 }, async ({ task }) => {
  const path = join(mkdtempSync(join(tmpdir(), 'millrace-cancel-')), 'queue.db');
  await using gateway = await testGateway(yaml(`queues: { default: { kind: sqlite, path: ${path} } }`));
  holds(task, 'sqlite', await race(gateway, calls));
});

await describeWithBroker('redis', 'what is cancelled before it begins', (url) => {
  it('never runs, on Redis (P26)', { timeout: 600_000 }, async ({ task }) => {
    const queue = `connections: { main: { kind: redis, url: "${url}" } }
queues: { default: { kind: redis, name: ${randomUUID()} } }`;
    await using gateway = await testGateway(yaml(queue));
    holds(task, 'redis', await race(gateway, calls));
  });
});

it('a queue that says "cancelled" and forgets it is found out', async () => {
  const queue = 'queues: { default: { kind: forgetful } }';
  await using gateway = await testGateway(yaml(queue).replace('60s', '50ms'), {}, [inlinePlugin, forgetful]);
  const tally = await race(gateway, 40);
  expect(tally.ranAllTheSame + tally.wentOn).toBeGreaterThan(0);
}, 60_000);
