import { Heap } from '../kit/heap.ts';

/** What happens because time has passed, in the order in which it does at the same time. */
const agendaKinds = ['lapse', 'expire', 'due', 'gone', 'forget', 'letter', 'dedup'] as const;
export type AgendaKind = (typeof agendaKinds)[number];

export interface AgendaEntry {
  readonly at: number;
  readonly kind: AgendaKind;
  /** Of the message that it is about, so that the order is the same on every gateway, also after a restart. */
  readonly sequence: number;
  readonly key: string;
}

/**
 * What is to happen at which time. An entry may be void by then (its message was settled in between): the owner says so,
 * and void entries are dropped unseen.
 */
export class Agenda {
  readonly #entries = new Heap<AgendaEntry>(before);
  readonly #holds: (entry: AgendaEntry) => boolean;

  constructor(holds: (entry: AgendaEntry) => boolean) {
    this.#holds = holds;
  }

  add(at: number, kind: AgendaKind, sequence: number, key: string): void {
    this.#entries.push({ at, kind, sequence, key });
  }

  /** When there is something to do; Infinity when nothing. */
  get next(): number {
    for (let entry = this.#entries.peek(); entry; entry = this.#entries.peek()) {
      if (this.#holds(entry)) return entry.at;
      this.#entries.pop();
    }
    return Infinity;
  }

  /** Takes out the next entry that is due by then and not void. */
  take(now: number): AgendaEntry | undefined {
    return this.next <= now ? this.#entries.pop() : undefined;
  }
}

/** A total order: heaps that were filled in different ways must be emptied in the same one. */
function before(a: AgendaEntry, b: AgendaEntry): boolean {
  if (a.at !== b.at) return a.at < b.at;
  if (a.sequence !== b.sequence) return a.sequence < b.sequence;
  if (a.kind !== b.kind) return agendaKinds.indexOf(a.kind) < agendaKinds.indexOf(b.kind);
  return a.key < b.key;
}
