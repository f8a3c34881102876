import { copyFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { clockNeeds, FakeClock } from '../chaos/machine/clock.ts';
import { describeOnMachine } from '../chaos/machine/needs.ts';
import { Example, fileOf, patient } from '../support/example.ts';

const home = mkdtempSync(join(tmpdir(), 'millrace-report-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

await describeOnMachine('report', clockNeeds, () => {
  it('report: each night once, the last one that was missed, and one that had no sales until they came', async () => {
    const clock = new FakeClock(join(home, 'clock'));
    const at = (time: string): void => clock.jump(Math.round((Date.parse(time) - Date.now()) / 1000));
    const sales = join(home, 'sales');
    cpSync(fileOf('report', 'samples'), sales, { recursive: true });

    // Before 03:15 in Berlin, by less than the minute from which on it looks at the clock each second.
    at('2026-11-25T02:14:05Z');
    await using example = await Example.start('report', { ...clock.env, SALES: sales, RETRY_AFTER: '50ms' });
    const folder = join(example.data, 'reports');
    const reports = (): string[] => readdirSync(folder).toSorted((a, b) => a.localeCompare(b));
    const nightOf = (day: number): string => `2026-11-${day}T02-15-00.000Z.csv`;
    /** Since the last start, by their status. */
    const runs = async (): Promise<Record<string, number>> => {
      const metrics = await (await fetch(`${example.gateway.management}/metrics`)).text();
      const counted = metrics.matchAll(/^gateway_function_invocation_total\{.*code="(\d+)".*\} (\d+)$/gm);
      return Object.fromEntries([...counted].map(([, status = '', count]) => [status, Number(count)]));
    };
    at('2026-11-25T02:14:59Z');
    await expect.poll(reports, patient).toEqual([nightOf(25)]);
    expect(readFileSync(join(folder, nightOf(25)), 'utf8')).toBe('product,total\ncups,8.00\ntea,37.50\n');

    // Two nights later: the first of them is not made up for.
    await example.stop();
    at('2026-11-27T09:00:00Z');
    await example.start();
    await expect.poll(reports, patient).toEqual([nightOf(25), nightOf(27)]);
    expect(readFileSync(join(folder, nightOf(27)), 'utf8')).toBe('product,total\nkettle,49.90\ntea,37.50\n');

    const between = ['--from', '2026-11-26T00:00:00Z', '--to', '2026-11-27T12:00:00Z'];
    const told = await example.millrace('connectors', 'backfill', 'nightly', ...between);
    const known = told
      .split('\n')
      .flatMap((line) => (line.includes('had fired before') ? [line.trim().slice(0, 10)] : []));
    expect(known).toEqual(['2026-11-27']);
    await expect.poll(reports, patient).toEqual([25, 26, 27].map(nightOf));

    await expect.poll(runs, patient).toEqual({ 200: 2 });

    await example.stop();
    at('2026-11-28T09:00:00Z');
    await example.start();
    await expect.poll(() => example.letters(), patient).toHaveLength(1);
    const [letter] = await example.letters();
    expect(letter).toMatchObject({ function: 'report.openfaas-fn', reason: 'max_attempts', attempt: 6 });
    expect(letter?.errors.at(-1)?.message).toContain('2026-11-27.csv');
    copyFileSync(join(sales, '2026-11-24.csv'), join(sales, '2026-11-27.csv'));
    await example.millrace('dead-letters', 'replay', letter?.id ?? '');
    await expect.poll(reports, patient).toEqual([25, 26, 27, 28].map(nightOf));

    await expect.poll(runs, patient).toEqual({ 200: 1, 500: 6 });
  }, 120_000);
});
