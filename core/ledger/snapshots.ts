import { randomUUID } from 'node:crypto';
import { MillraceError } from '../contracts/errors.ts';
import type { Journal, JournalEntry } from '../contracts/journal.ts';
import { jsonOf } from '../kit/body.ts';
import { ledgerFormat, type DumpPart, type LedgerState } from './state.ts';

/** Before the bytes of each entry, as one line. */
interface Head {
  readonly id: string;
  readonly index: number;
  /** Of the last one: how many there are, and as of which command. */
  readonly end?: { readonly count: number; readonly position: number } | undefined;
}

interface Found {
  readonly position: number;
  readonly chunks: readonly Uint8Array[];
}

const chunkBytes = 256 * 1024;
const headBytes = 300;

/** The journal of snapshots: dumps of the state, each in several entries of which only the last one makes it whole. */
export class Snapshots {
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /**
   * Writes what `dump` gives, and forgets all snapshots before it. `turn` is awaited between two pieces of work, so that
   * others come to theirs. The dump has been taken whole when `taken` is called. Resolves with its size.
   */
  async write(
    position: number,
    dump: Iterable<DumpPart>,
    { turn, taken }: { readonly turn: () => Promise<void>; readonly taken: () => void },
  ): Promise<number> {
    const chunks: Buffer[] = [];
    try {
      const limit = Math.min(chunkBytes, this.#journal.maxBytes - headBytes);
      let lines: string[] = [];
      let bytes = 0;
      const cut = (): void => {
        const whole = Buffer.from(lines.join(''));
        for (let at = 0; at < whole.byteLength; at += limit) chunks.push(whole.subarray(at, at + limit));
        lines = [];
        bytes = 0;
      };
      for (const part of dump) {
        const line = `${JSON.stringify(part)}\n`;
        lines.push(line);
        bytes += line.length;
        if (bytes < limit) continue;
        cut();
        await turn();
      }
      cut();
    } finally {
      taken();
    }
    const id = randomUUID();
    let first: number | undefined;
    let size = 0;
    for (const [index, chunk] of chunks.entries()) {
      const at = await this.#append({ id, index }, chunk);
      first ??= at;
      size += chunk.byteLength;
    }
    const end = await this.#append(
      { id, index: chunks.length, end: { count: chunks.length, position } },
      Buffer.alloc(0),
    );
    await this.#journal.trim(first ?? end);
    return size;
  }

  /** Loads the newest whole one into the state. Rejects when it was made by a newer release. */
  async load(state: LedgerState, signal: AbortSignal): Promise<void> {
    const found = await this.#newest(signal);
    if (!found) return;
    for (const line of linesOf(found.chunks)) {
      const part = JSON.parse(line) as DumpPart;
      if ('head' in part && part.head.format > ledgerFormat) throw newerFormat();
      state.load(part);
    }
  }

  #append(head: Head, chunk: Uint8Array): Promise<number> {
    return this.#journal.append(Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), chunk]));
  }

  async #newest(signal: AbortSignal): Promise<Found | undefined> {
    const { first, next } = await this.#journal.bounds();
    if (first >= next) return undefined;
    const open = new Map<string, Uint8Array[]>();
    let newest: Found | undefined;
    const read = ({ data }: JournalEntry): void => {
      const line = data.indexOf(10);
      const head = jsonOf(data.subarray(0, Math.max(0, line))) as Head | undefined;
      if (typeof head?.id !== 'string') return; // Somebody else's.
      const { id, index, end } = head;
      const chunks = open.get(id) ?? [];
      open.set(id, chunks);
      if (!end) chunks[index] = data.subarray(line + 1);
      else {
        open.delete(id);
        const whole = Object.keys(chunks).length === end.count;
        if (whole && end.position > (newest?.position ?? -1)) newest = { position: end.position, chunks };
      }
    };
    const done = new AbortController();
    const until = AbortSignal.any([signal, done.signal]);
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(new MillraceError('queue.unavailable', 'the queue is stopping')), {
        once: true,
      });
      const follower = {
        entry: (entry: JournalEntry): void => {
          read(entry);
          if (entry.position >= next - 1) resolve();
        },
        gap: (position: number): void => {
          if (position >= next) resolve();
        },
        lost: reject,
      };
      this.#journal.follow(first, follower, until).catch(reject);
    }).finally(() => done.abort());
    return newest;
  }
}

/** Chunks end anywhere, also within a character. */
function* linesOf(chunks: readonly Uint8Array[]): Generator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

/** What a gateway of an older release is told. */
export function newerFormat(): MillraceError {
  return new MillraceError(
    'queue.format',
    'a newer release has opened this queue on the broker: start that release, or give this gateway another queue',
  );
}
