import { expect, it } from 'vitest';
import { saw, seed, times } from '../support/promise.ts';
import { broken, check } from './checker.ts';
import { crashRun, summary } from './driver.ts';
import { SmallDisk, smallDiskNeeds } from './machine/disks.ts';
import { describeOnMachine } from './machine/needs.ts';
import { type CrashQueue, sqlite } from './queues.ts';
import { smallDiskMark, type Strike } from './strikes.ts';

const log = (text: string): void => void process.stderr.write(`  ${text}\n`);

const onSmallDisk: CrashQueue = {
  ...sqlite,
  yaml: (folder) =>
    `queues: { default: { kind: sqlite, path: ${folder}/queue.db, limits: { freeDisk: "${smallDiskMark}B" } } }`,
};

await describeOnMachine('the disk is full', smallDiskNeeds, () => {
  it(
    'refuses what is new, says that it is not ready, does what is there, and is back with the space (P12)',
    { timeout: 3_600_000 },
    async ({ task }) => {
      await using disk = await SmallDisk.make(64);
      const cycles = times(3, 20);
      const strikes = Array.from({ length: cycles }, (_, round): Strike => (round % 3 === 1 ? 'full' : 'low'));
      const load = { calls: 100 * cycles, paceMs: 20 };
      const run = await crashRun({ seed, queue: onSmallDisk, gateways: 1, strikes, ...load, disk, log });
      log(`disk full, seed ${seed}: ${summary(run)}`);
      expect(broken(check(run.history)), `seed ${seed}`).toEqual([]);
      const { accepted } = run.history;
      saw(task, { seed, result: `${accepted.length.toLocaleString('en')} accepted, ${cycles} times full, 0 lost` });
    },
  );

  it('is caught when it takes what it has no space for', { timeout: 120_000 }, async () => {
    await using disk = await SmallDisk.make(64);
    const load = { calls: 100, paceMs: 20 };
    const plant = 'drop-on-full';
    const { history } = await crashRun({
      seed,
      queue: onSmallDisk,
      gateways: 1,
      strikes: ['low'],
      ...load,
      disk,
      plant,
    });
    expect(check(history).lost.length).toBeGreaterThan(0);
  });
});
