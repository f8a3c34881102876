import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Handler } from '../../../plugins/providers/worker/api.ts';

const folderOf = (name: string, otherwise: string): string =>
  resolve(import.meta.dirname, '..', process.env[name] ?? otherwise);
const sales = folderOf('SALES', 'samples');
const reports = `${folderOf('DATA', 'data')}/reports`;
mkdirSync(reports, { recursive: true });

/**
 * Adds up the sales of the day before its slot, by product. Which day that is, the slot says and not the clock: so a report
 * that is late, or made once more, is that of its night.
 */
export default (({ headers }, { log }) => {
  const slot = String(headers['ce-time']);
  const day = new Date(Date.parse(slot) - 86_400_000).toISOString().slice(0, 10);
  const totals = totalsOf(readFileSync(`${sales}/${day}.csv`, 'utf8'));
  const lines = [...totals].map(([product, cents]) => `${product},${(cents / 100).toFixed(2)}`).toSorted();
  const file = `${reports}/${slot.replaceAll(':', '-')}.csv`;
  // Nobody sees half a report, and a second attempt writes the same one.
  writeFileSync(`${file}.part`, ['product,total', ...lines, ''].join('\n'));
  renameSync(`${file}.part`, file);
  log.info(`report of ${day}: ${totals.size} products`);
  return { day, file };
}) satisfies Handler;

/** Cents by product, of lines `time,product,amount`. */
function totalsOf(csv: string): Map<string, number> {
  const totals = new Map<string, number>();
  for (const [at, line] of csv.trim().split('\n').slice(1).entries()) {
    const [, product = '', amount = ''] = line.split(',');
    if (!/^\d+\.\d\d$/.test(amount))
      throw new Error(`line ${at + 2}: an amount as 12.50, got ${JSON.stringify(amount)}`);
    totals.set(product, (totals.get(product) ?? 0) + Math.round(Number(amount) * 100));
  }
  return totals;
}
