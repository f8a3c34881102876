import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { Outcome } from '../../core/contracts/invocation.ts';
import type { FunctionEntry } from '../../core/contracts/provider.ts';
import { makeCall, makeInvocation } from '../../core/testing/index.ts';
import { bytesOf } from '../../core/testing/provider-contract.ts';
import { Claims } from '../../plugins/providers/worker/claims.ts';
import { workerBench, type WorkerBench } from '../contract/worker-bench.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-ahead-'));
const open: WorkerBench[] = [];
let count = 0;

afterEach(async () => {
  await Promise.all(open.splice(0).map((bench) => bench.dispose()));
});
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

interface Trial {
  readonly bench: WorkerBench;
  readonly entry: FunctionEntry;
  call(path?: string, options?: { timeoutMs?: number; signal?: AbortSignal }): Sent;
  /** Ids of the runs that were begun, in their order. */
  ran(): string[];
}

interface Sent {
  readonly id: string;
  readonly outcome: Promise<Outcome>;
}

/** A function that is known to be quick: as much as may be is given to its threads ahead. */
async function setup(max: number): Promise<Trial> {
  const bench = await workerBench({ grace: '50ms' });
  open.push(bench);
  const ledger = join(folder, `ledger-${count++}`);
  writeFileSync(ledger, '');
  const entry = await bench.deployModule(
    'quick.test',
    { module: 'ledger.ts', pool: { min: max, max } },
    { LEDGER: ledger },
  );
  const trial: Trial = {
    bench,
    entry,
    call: (path = '', { signal, ...options } = {}) => {
      const invocation = makeInvocation(entry.name, { path, ...options });
      return { id: invocation.id, outcome: entry.provider.invoke(entry, makeCall(invocation, signal)) };
    },
    ran: () => readFileSync(ledger, 'utf8').split('\n').filter(Boolean),
  };
  await learnt(trial, max);
  return trial;
}

/** Calls until the pool takes the function to be quick: then it takes more than its threads may run at once. */
async function learnt({ bench, call }: Pick<Trial, 'bench' | 'call'>, max: number): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end;) {
    await Promise.all(Array.from({ length: 64 }, () => call().outcome));
    if ((bench.statuses.at(-1)?.capacity ?? 0) > max) return;
  }
  throw new Error('the function was never taken to be quick');
}

async function succeeded({ id, outcome }: Sent): Promise<boolean> {
  const answer = await outcome;
  return answer.failure === undefined && (await bytesOf(answer)).toString() === id;
}

/** The trial's promise, whatever was done: what succeeded ran once, and nothing ran twice. */
async function expectOnce(trial: Trial, sent: readonly Sent[]): Promise<void> {
  const runs = trial.ran();
  expect(new Set(runs).size, 'something ran twice').toBe(runs.length);
  for (const one of sent) if (await succeeded(one)) expect(runs).toContain(one.id);
}

describe('calls that a busy thread was given ahead', () => {
  test('run once each, in the order in which they came', async () => {
    const trial = await setup(1);
    const sent = Array.from({ length: 500 }, () => trial.call());
    for (const one of sent) expect(await succeeded(one)).toBe(true);
    await expectOnce(trial, sent);
    const own = new Set(sent.map(({ id }) => id));
    expect(trial.ran().filter((id) => own.has(id))).toEqual(sent.map(({ id }) => id));
  });

  test('go to another thread when the one before them takes long', async () => {
    const trial = await setup(2);
    let spinning = true;
    const slow = trial.call('/spin/3000');
    void slow.outcome.then(() => (spinning = false));
    const sent = Array.from({ length: 60 }, () => trial.call());
    for (const one of sent) expect(await succeeded(one)).toBe(true);
    expect(spinning, 'they waited for the slow one').toBe(true);
    expect(await succeeded(slow)).toBe(true);
    await expectOnce(trial, [slow, ...sent]);
  });

  test('survive the death of the thread: only what it had begun crashes', async () => {
    const trial = await setup(1);
    const dying = trial.call('/exit');
    const sent = Array.from({ length: 30 }, () => trial.call());
    expect((await dying.outcome).failure).toBe('crash');
    for (const one of sent) expect(await succeeded(one)).toBe(true);
    await expectOnce(trial, sent);
  });

  test('survive a runaway that is ended at its deadline', async () => {
    const trial = await setup(1);
    const runaway = trial.call('/spin/60000', { timeoutMs: 200 });
    const sent = Array.from({ length: 30 }, () => trial.call());
    expect((await runaway.outcome).failure).toBe('timeout');
    for (const one of sent) expect(await succeeded(one)).toBe(true);
    await expectOnce(trial, sent);
  });

  test('never run once they were aborted in time', async () => {
    const trial = await setup(1);
    const slow = trial.call('/spin/500');
    const gone = new AbortController();
    const aborted = Array.from({ length: 10 }, () => trial.call('', { signal: gone.signal }));
    const kept = Array.from({ length: 10 }, () => trial.call());
    gone.abort(new DOMException('nobody waits', 'AbortError'));
    for (const { outcome } of aborted) expect((await outcome).failure).toBe('cancelled');
    for (const one of [slow, ...kept]) expect(await succeeded(one)).toBe(true);
    await expectOnce(trial, kept);
    for (const { id } of aborted) expect(trial.ran()).not.toContain(id);
  });

  test('are run by new threads when the module is taken up anew', async () => {
    const trial = await setup(1);
    const sent = Array.from({ length: 200 }, () => trial.call());
    await trial.entry.provider.deploy(trial.entry.spec);
    for (const one of sent) expect(await succeeded(one)).toBe(true);
    await expectOnce(trial, sent);
  });

  test('whatever happens to them, are answered once and run at most once', async () => {
    const trial = await setup(2);
    // A thread that ends has to be started anew, so few do.
    const paths = [...Array.from({ length: 26 }, () => ''), '/spin/5', '/spin/5', '/spin/60', '/exit'];
    const sent: Sent[] = [];
    for (let round = 0; round < 40; round++) {
      const gone = new AbortController();
      for (let number = 0; number < 30; number++) {
        const path = paths[(round * 7 + number * 11) % paths.length];
        sent.push(trial.call(path, number % 6 === 0 ? { signal: gone.signal } : { timeoutMs: 60_000 }));
      }
      await new Promise((resolve) => setTimeout(resolve, round % 5));
      gone.abort(new DOMException('nobody waits', 'AbortError'));
    }
    const outcomes = await Promise.all(sent.map(({ outcome }) => outcome));
    expect(
      outcomes.every(({ failure }) => failure === undefined || failure === 'crash' || failure === 'cancelled'),
    ).toBe(true);
    await expectOnce(trial, sent);
  }, 120_000);
});

describe('a claim', () => {
  test('is won by one side only', () => {
    const host = new Claims();
    const thread = new Claims(host.cells);
    host.offer(1);
    expect([host.takeBack(1), thread.begin(1), host.takeBack(1)]).toEqual([true, false, false]);
    host.offer(2);
    expect([thread.begin(2), host.takeBack(2), thread.begin(2)]).toEqual([true, false, false]);
    host.offer(3);
    host.takeBack(3);
    host.offer(67); // The same cell.
    expect([thread.begin(3), thread.begin(67)]).toEqual([false, true]);
  });
});
