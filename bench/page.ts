import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { version } from '../core/version.ts';

const file = join(import.meta.dirname, '..', 'docs/benchmarks.md');
const queuesHeading = '\n## Queues next to BullMQ\n';

/** Writes what `npm run bench` measured, and leaves the section of the queues as it is. */
export function writePage(text: string): void {
  writeFileSync(file, text + (partsOf(readFileSync(file, 'utf8')).queues ?? ''));
}

/** Writes the section of the queues, and leaves the rest as it is. */
export function writeQueues(text: string): void {
  writeFileSync(file, `${partsOf(readFileSync(file, 'utf8')).page}${queuesHeading}\n${text}`);
}

/** When, with what and on what machine it was measured. */
export function circumstances(): string {
  const [cpu] = cpus();
  const kernel = readFileSync('/proc/version', 'utf8').split(' ').slice(0, 3).join(' ');
  return (
    `${new Date().toISOString().slice(0, 10)}. Millrace ${version}, Node ${process.version}, ${kernel},\n` +
    `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, load average at the end ${loadavg()[0]?.toFixed(2)}`
  );
}

function partsOf(text: string): { readonly page: string; readonly queues: string | undefined } {
  const at = text.indexOf(queuesHeading);
  return at < 0 ? { page: text, queues: undefined } : { page: text.slice(0, at), queues: text.slice(at) };
}
