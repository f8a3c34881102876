import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { version } from '../core/version.ts';

const file = join(import.meta.dirname, '..', 'docs/benchmarks.md');
/** Sections that are written by themselves, in the order in which they stand behind the rest. */
const headings = {
  queues: '\n## Queues next to BullMQ\n',
  connectors: '\n## Connectors next to bare client loops\n',
  proxy: '\n## Functions behind a URL next to reverse proxies\n',
} as const;
type Section = keyof typeof headings;

/** Writes what `npm run bench` measured, and leaves the sections of others as they are. */
export function writePage(text: string): void {
  write({ ...partsOf(readFileSync(file, 'utf8')), page: text });
}

/** Writes one section, and leaves the rest as it is. */
export function writeSection(section: Section, text: string): void {
  write({ ...partsOf(readFileSync(file, 'utf8')), [section]: `${headings[section]}\n${text}` });
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

type Parts = Readonly<Record<'page' | Section, string>>;

function partsOf(text: string): Parts {
  const parts = { page: text, queues: '', connectors: '', proxy: '' };
  for (const section of ['proxy', 'connectors', 'queues'] as const) {
    const at = parts.page.indexOf(headings[section]);
    if (at < 0) continue;
    parts[section] = parts.page.slice(at);
    parts.page = parts.page.slice(0, at);
  }
  return parts;
}

function write({ page, queues, connectors, proxy }: Parts): void {
  writeFileSync(file, page + queues + connectors + proxy);
}
