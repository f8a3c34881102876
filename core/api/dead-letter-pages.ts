import { z } from 'zod';
import { MillraceError } from '../contracts/errors.ts';
import type { DeadLetter, DeadLetterFilter } from '../contracts/queue.ts';
import type { ManagedQueue } from './services.ts';

/** A dead letter and where it is. */
export interface FoundLetter {
  readonly queueName: string;
  readonly queue: ManagedQueue;
  readonly letter: DeadLetter;
}

export interface FoundPage {
  readonly items: readonly FoundLetter[];
  /** For the next page; undefined at the end. */
  readonly cursor: string | undefined;
}

/** By queue name: its own cursor, or null when it has been read to the end. A queue without an entry begins. */
type Cursors = Record<string, string | null>;

const cursorsSchema = z.record(z.string().max(63), z.string().max(4096).nullable());

/** A page of the dead letters of several queues as one list, newest first. */
export async function listDeadLetters(
  queues: ReadonlyMap<string, ManagedQueue>,
  filter: DeadLetterFilter,
  limit: number,
  cursor: string | undefined,
): Promise<FoundPage> {
  // Without a prototype: `constructor` is a good name for a queue.
  const cursors: Cursors = Object.assign(Object.create(null) as Cursors, cursor === undefined ? {} : decode(cursor));
  const open = [...queues].filter(([name]) => cursors[name] !== null);
  const pages = await Promise.all(
    open.map(async ([queueName, queue]) => {
      const from = cursors[queueName] ?? undefined;
      return { queueName, queue, from, page: await queue.deadLetters.list(filter, limit, from) };
    }),
  );
  const taken = countTaken(
    pages.map(({ page }) => page.items),
    limit,
  );
  const items: FoundLetter[] = [];
  for (const [index, { queueName, queue, from, page }] of pages.entries()) {
    const count = taken[index] ?? 0;
    let read = page;
    if (count < page.items.length) {
      if (count === 0) continue; // Its cursor stays where it was.
      // A queue's cursor stands at the end of a page only, so the page is made to end where this list does. What died
      // in between is shown as well: items and cursor come from one answer and cannot disagree.
      read = await queue.deadLetters.list(filter, count, from);
    }
    cursors[queueName] = read.cursor ?? null;
    items.push(...read.items.map((letter) => ({ queueName, queue, letter })));
  }
  const ended = open.every(([name]) => cursors[name] === null);
  return { items: items.sort(newestFirst), cursor: ended ? undefined : encode(cursors) };
}

/** The dead letter of that id, on whichever queue it is. */
export async function findDeadLetter(queues: ReadonlyMap<string, ManagedQueue>, id: string): Promise<FoundLetter> {
  for (const [queueName, queue] of queues) {
    const letter = await queue.deadLetters.get(id);
    if (letter) return { queueName, queue, letter };
  }
  throw unknownLetter();
}

export function unknownLetter(): MillraceError {
  return new MillraceError('dead-letter.unknown', 'no dead letter of that id exists');
}

/** How many each list gives to the newest `limit` of all. */
function countTaken(lists: readonly (readonly DeadLetter[])[], limit: number): number[] {
  const taken = lists.map(() => 0);
  for (let total = 0; total < limit; total++) {
    let newest: { readonly index: number; readonly diedAt: number } | undefined;
    for (const [index, list] of lists.entries()) {
      const next = list[taken[index] ?? 0];
      if (next && (!newest || next.diedAt > newest.diedAt)) newest = { index, diedAt: next.diedAt };
    }
    if (!newest) break;
    taken[newest.index] = (taken[newest.index] ?? 0) + 1;
  }
  return taken;
}

function newestFirst(one: FoundLetter, other: FoundLetter): number {
  return other.letter.diedAt - one.letter.diedAt;
}

function encode(cursors: Cursors): string {
  return Buffer.from(JSON.stringify(cursors)).toString('base64url');
}

function decode(cursor: string): Cursors {
  try {
    return cursorsSchema.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')));
  } catch {
    throw new MillraceError('request.invalid', 'query.cursor: not a cursor that this list gave');
  }
}
