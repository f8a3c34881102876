import { sleep } from '../../core/contracts/clock.ts';
import { MillraceError } from '../../core/contracts/errors.ts';
import type { Journal, JournalReader, JournalSet } from '../../core/contracts/journal.ts';
import type { Lease, NewMessage, Queue } from '../../core/contracts/queue.ts';
import type { Keeping } from '../../core/ledger/keeper.ts';
import { LedgerQueue } from '../../core/ledger/queue.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';
import { memoryJournals } from '../../core/testing/memory-journal.ts';
import { unaborted } from '../../core/testing/queue-trial.ts';
import { ledgerSettings } from '../contract/ledger-bench.ts';
import { plainMessage } from './plain-message.ts';
import { quietHost } from './quiet-host.ts';

export const journalNames = ['commands', 'bodies', 'snapshots'] as const;

/** What one gateway sees of journals that several share, until it dies. */
export class View implements JournalSet {
  readonly commands: Journal;
  readonly bodies: Journal;
  readonly snapshots: Journal;
  /** Appends until it dies, before or after the last one of them was taken. */
  left = Infinity;
  diesBefore = true;
  appends = 0;
  #dead = false;
  readonly #followers = new Set<AbortController>();
  readonly #resume = new Set<() => void>();
  #listening = true;

  constructor(shared: JournalSet) {
    this.commands = this.#viewOf(shared.commands);
    this.bodies = this.#viewOf(shared.bodies);
    this.snapshots = this.#viewOf(shared.snapshots);
  }

  async open(): Promise<'memory'> {
    return 'memory';
  }

  async close(): Promise<void> {}

  /** It says and hears nothing more. */
  die(): void {
    this.#dead = true;
    for (const follower of this.#followers) follower.abort();
  }

  /** Whether it hears of commands; when it does again it goes on where it was. */
  set listening(listening: boolean) {
    this.#listening = listening;
    if (listening) for (const resume of this.#resume) resume();
  }

  #viewOf(journal: Journal): Journal {
    const check = (): void => {
      if (this.#dead) throw new MillraceError('queue.unavailable', 'this gateway is dead');
    };
    const append = async (data: Uint8Array): Promise<number> => {
      check();
      this.appends++;
      const last = --this.left < 0;
      if (last && this.diesBefore) this.die();
      check();
      const position = await journal.append(data);
      if (last) this.die();
      check();
      return position;
    };
    return {
      maxBytes: journal.maxBytes,
      origin: journal.origin,
      get available() {
        return journal.available;
      },
      append,
      follow: async (from: number, reader: JournalReader, signal: AbortSignal) => {
        const ended = new AbortController();
        this.#followers.add(ended);
        let next = from;
        const until = AbortSignal.any([signal, ended.signal]);
        const begin = async (): Promise<void> => {
          const round = new AbortController();
          const heard: JournalReader = {
            ...reader,
            entry: (entry) => {
              if (!this.#listening) return round.abort();
              next = entry.position + 1;
              reader.entry(entry);
            },
          };
          await journal.follow(next, heard, AbortSignal.any([until, round.signal]));
        };
        this.#resume.add(() => void begin());
        await begin();
      },
      read: async (position) => {
        check();
        return journal.read(position);
      },
      bounds: async () => journal.bounds(),
      trim: async (before) => {
        check();
        return journal.trim(before);
      },
    };
  }
}

export const often: Keeping = { snapshotBytes: 1500, trimBytes: 1000, slackBytes: 1000 };

export function world(maxBytes?: number) {
  const clock = manualClock();
  const shared = memoryJournals(clock, maxBytes);
  const hosts: ReturnType<typeof quietHost>[] = [];
  const open = async (
    instance: string | undefined,
    { keeping = often, patienceMs = 300 }: { keeping?: Keeping; patienceMs?: number } = {},
  ) => {
    const view = new View(shared);
    const host = quietHost(clock);
    hosts.push(host);
    const queue = new LedgerQueue(view, { host, settings: ledgerSettings(), instance, keeping, patienceMs });
    await queue.start();
    return { queue, view, host };
  };
  return { clock, shared, open };
}

let count = 0;
export function message(options: Partial<NewMessage> = {}): NewMessage {
  return { ...plainMessage(`01LEDGER${String(++count).padStart(18, '0')}`), ...options };
}

export async function leaseAll(queue: Queue, max = 100): Promise<Lease[]> {
  return queue.lease('work.default', max, { ttlMs: 60_000, waitMs: 0, signal: unaborted });
}

export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('it did not come to be within 10 s');
    await sleep(2);
  }
}
