import { expect, it } from 'vitest';
import { saw, seed, times } from '../support/promise.ts';
import { broken, check } from './checker.ts';
import { crashRun, summary, type Run } from './driver.ts';
import { LoopDisk, loopNeeds } from './machine/disks.ts';
import { describeOnMachine } from './machine/needs.ts';
import { sqlite } from './queues.ts';
import type { Strike } from './strikes.ts';

const log = (text: string): void => void process.stderr.write(`  ${text}\n`);

async function struck(strikes: readonly Strike[], plant?: string): Promise<Run> {
  await using disk = await LoopDisk.make();
  // Paced, so that calls are under way whenever it strikes.
  const load = { calls: 100 * strikes.length, paceMs: 20 };
  return await crashRun({ seed, queue: sqlite, gateways: 1, strikes, ...load, disk, ...(plant && { plant }) });
}

const powerCuts = (count: number): readonly Strike[] => Array.from({ length: count }, () => 'power');

await describeOnMachine('the power is cut', loopNeeds, () => {
  it('loses nothing that was answered with `X-Durability: disk` (P1)', { timeout: 3_600_000 }, async ({ task }) => {
    const cuts = times(4, 200);
    const run = await struck(powerCuts(cuts));
    log(`power, seed ${seed}: ${summary(run)}`);
    expect(broken(check(run.history)), `seed ${seed}`).toEqual([]);
    expect(run.history.kills).toBe(cuts);
    const { accepted } = run.history;
    saw(task, { seed, result: `${accepted.length.toLocaleString('en')} accepted, ${cuts} power cuts, 0 lost` });
  });

  it('is caught when it commits without waiting for the disk', { timeout: 120_000 }, async () => {
    const { history } = await struck(powerCuts(1), 'commit-without-flush');
    const { lost, withoutEnd } = check(history);
    // What had run by then is not lost, but nobody knows of it any more.
    expect(lost.length + withoutEnd.length).toBeGreaterThan(0);
  });

  it('finds what no kill of the process does', { timeout: 120_000 }, async () => {
    const { history } = await struck(['gateway'], 'commit-without-flush');
    expect(broken(check(history)), `seed ${seed}`).toEqual([]);
  });
});
