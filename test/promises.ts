/**
 * Writes what the tests showed of the promises into the README: `npm run promises -- REPORT.json`, where the report is
 * vitest's: `npm test -- --reporter=default --reporter=json --outputFile.json=REPORT.json`. Ends with 1 when a promise failed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promiseTable, type Report, withTable } from './support/promise-table.ts';

const root = join(import.meta.dirname, '..');
const readme = join(root, 'README.md');
const [, , file] = process.argv;
if (file === undefined) throw new Error('expected a report of vitest: npm run promises -- REPORT.json');
const table = promiseTable(JSON.parse(readFileSync(file, 'utf8')) as Report, root);
writeFileSync(readme, withTable(readFileSync(readme, 'utf8'), table));
if (table.includes('**failed**')) process.exitCode = 1;
