import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Figure } from './rows/row.ts';

const file = join(import.meta.dirname, 'results.json');

/** What a row gave when it was last kept. */
export interface Result {
  /** When, with what and on what machine. */
  readonly on: string;
  readonly figures: readonly Figure[];
  /** Where its gateways spent their time when they were last profiled, by the names of the gateways. */
  readonly frames?: Readonly<Record<string, readonly string[]>>;
}

export type Results = Readonly<Record<string, Result>>;

/** What is kept beside the benchmarks, by row. */
export function keptResults(): Results {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results) : {};
}

/** Keeps what was measured; of rows that were not, and of what was not measured of a row, what was kept before stays. */
export function keepResults(measured: Readonly<Record<string, Partial<Result>>>): Results {
  const all: Record<string, Result> = { ...keptResults() };
  for (const [name, found] of Object.entries(measured)) all[name] = { on: '', figures: [], ...all[name], ...found };
  writeFileSync(file, `${JSON.stringify(all, undefined, 2)}\n`);
  return all;
}
