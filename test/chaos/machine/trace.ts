import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { DiskEvent } from './simulated-disk.ts';

/** An invocation that was answered with 202. */
export interface AnswerEvent {
  readonly kind: 'answer';
  readonly id: string;
}

export type TraceEvent = DiskEvent | AnswerEvent;

const calls = 'openat,pwrite64,ftruncate,fsync,fdatasync,unlink,write,writev';
/** Calls that could change a file and that `parse` does not know: it refuses a trace in which there is one. */
const unknown = 'pwritev,pwritev2,fallocate,rename,renameat,renameat2,unlinkat,copy_file_range,sync_file_range';

/** What makes a process write down its system calls in `file`. It stays itself: the tracer is another process. */
export function traced(file: string): readonly string[] {
  const options = ['-D', '-f', '-q', '--seccomp-bpf', '-y', '-xx', '-s', '1000000'];
  return ['strace', ...options, '-e', `trace=${calls},${unknown}`, '-o', file];
}

/** What happened to the files of that folder, and when callers were told so, in order. */
export async function readTrace(file: string, folder: string): Promise<TraceEvent[]> {
  const parse = new Parser(folder);
  for await (const line of createInterface({ input: createReadStream(file, 'latin1') })) parse.line(line);
  return parse.events;
}

/** `PID name(arguments) = result`, or the same in two lines when another thread came between. */
const whole = /^(\d+) +(\w+)\((.*)\) += (-?\d+)/;
const begun = /^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$/;
const resumed = /^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)/;

export class Parser {
  readonly events: TraceEvent[] = [];
  readonly #folder: string;
  /** Arguments of calls that have not ended, by thread. */
  readonly #begun = new Map<string, string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  line(line: string): void {
    const start = begun.exec(line);
    if (start) {
      const [, thread = '', name = '', args = ''] = start;
      this.#begun.set(thread, args);
      // From here on it may be on the disk, or heard by a caller.
      if (isEarly(name)) this.#add(name, args);
      return;
    }
    const end = resumed.exec(line);
    if (end) {
      const [, thread = '', name = '', rest = '', result] = end;
      const args = (this.#begun.get(thread) ?? '') + rest;
      this.#begun.delete(thread);
      if (!isEarly(name) && Number(result) >= 0) this.#add(name, args);
      return;
    }
    const [, , name = '', args = '', result] = whole.exec(line) ?? [];
    if (Number(result) >= 0) this.#add(name, args);
  }

  #add(name: string, args: string): void {
    if (name === 'write' || name === 'writev') {
      this.#answer(args);
      return;
    }
    const path = pathOf(name, args);
    if (path !== this.#folder && !path.startsWith(`${this.#folder}/`)) return;
    switch (name) {
      case 'openat':
        if (args.includes('O_CREAT')) this.events.push({ kind: 'create', path });
        return;
      case 'pwrite64': {
        // Whether the sync is of it, too, nobody could say.
        if (this.#isSyncing(args)) throw new Error(`the trace has a write to ${path} while it was synced`);
        const [, text = '', at] = /, "([^"]*)", \d+, (\d+)/.exec(args) ?? [];
        this.events.push({ kind: 'write', path, at: Number(at), bytes: unescaped(text) });
        return;
      }
      case 'ftruncate':
        this.events.push({ kind: 'truncate', path, size: Number(/, (\d+)/.exec(args)?.[1]) });
        return;
      case 'unlink':
        this.events.push({ kind: 'unlink', path });
        return;
      case 'fsync':
      case 'fdatasync':
        this.events.push({ kind: 'sync', path });
        return;
      default:
        throw new Error(`the trace has ${name}(${path}), which the simulated disk does not know`);
    }
  }

  #isSyncing(args: string): boolean {
    const descriptor = args.slice(0, args.indexOf('>') + 1);
    return [...this.#begun.values()].includes(descriptor);
  }

  #answer(args: string): void {
    const [, text] = /"((?:\\x[0-9a-f]{2})+)/.exec(args) ?? [];
    if (text === undefined || !text.startsWith(accepted)) return;
    const id = /^x-invocation-id: *(\S+)/im.exec(unescaped(text).toString('latin1'))?.[1];
    if (id === undefined) throw new Error('an answer with 202 has no id');
    this.events.push({ kind: 'answer', id });
  }
}

const accepted = [...Buffer.from('HTTP/1.1 202 ')].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');

function isEarly(name: string): boolean {
  return name === 'pwrite64' || name === 'ftruncate' || name === 'write' || name === 'writev';
}

/** Of the file: the second argument of openat, the first and only one of unlink, and otherwise that of the descriptor. */
function pathOf(name: string, args: string): string {
  const [, text = ''] = (name === 'openat' || name === 'unlink' ? /"([^"]*)"/ : /^\d+<([^>]*)>/).exec(args) ?? [];
  return unescaped(text).toString();
}

/** Of strace's `\x41\x42`. */
function unescaped(text: string): Buffer {
  return Buffer.from(text.replaceAll('\\x', ''), 'hex');
}
