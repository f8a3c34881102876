import { readdirSync, readFileSync } from 'node:fs';

/** A process as /proc tells it. */
export interface ProcessRow {
  readonly pid: number;
  /** `Z` is a zombie: it has ended, and nobody has asked how. */
  readonly state: string;
  readonly parent: number;
}

/** Undefined when there is none of that id. */
export function processRow(pid: number): ProcessRow | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name may hold spaces and brackets.
    const [state = '', parent = ''] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { pid, state, parent: Number(parent) };
  } catch {
    return undefined; // It ended while it was read, or before.
  }
}

/** A number of its /proc/PID/status, memory in KiB; not a number where there is none of that name. */
export function processStatus(pid: number, field: 'VmRSS' | 'VmHWM' | 'Threads'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
}

export function isRunning(pid: number): boolean {
  const row = processRow(pid);
  return row !== undefined && row.state !== 'Z';
}

/** Everything that runs, zombies included. */
export function processRows(): readonly ProcessRow[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => processRow(Number(name)) ?? []);
}

export function childrenOf(parent: number): readonly ProcessRow[] {
  return processRows().filter((row) => row.parent === parent);
}

/** The children of this process whose command line holds `text`. */
export function ownChildren(text: string): readonly number[] {
  return childrenOf(process.pid)
    .map(({ pid }) => pid)
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text));
}
