import { expect } from 'vitest';
import { sleep } from '../contracts/clock.ts';
import type {
  Disposition,
  LaneStats,
  Lease,
  LeaseOptions,
  MessageRecord,
  NewMessage,
  Queue,
  QueueCapabilities,
} from '../contracts/queue.ts';

/** What a case asks of the queue that is made for it; what is absent stays as the plugin has it. */
export interface QueueSettings {
  readonly agingStepMs?: number;
  readonly maxMessages?: number;
  readonly maxBytes?: number;
  readonly maxLaneMessages?: number;
}

/** A queue to try, and the means to try it with. */
export interface QueueBench {
  /** Started and empty. */
  readonly queue: Queue;
  /** Moves the clock of the queue's host on. Absent: the queue runs on real time. */
  advance?(ms: number): void;
  /** Sets the wall clock of the queue's host, forward or back. Absent: the bench cannot. */
  jump?(ms: number): void;
  /** What a new process finds after the old one died without closing anything. Absent: it keeps nothing. */
  reopen?(): Promise<Queue>;
  /**
   * Others may work on the same queue, so that a new process cannot know whether the old one is dead: its leases last as
   * long as they were given for. Without it, whoever opens the queue ends them at once.
   */
  readonly shared?: true;
  dispose(): Promise<void>;
}

/** What a case cannot do without: a capability of the plugin, or a means of the bench. */
export type QueueNeed = keyof QueueCapabilities | 'advance' | 'jump' | 'reopen' | 'shared';

/** One promise of every queue. It fails by rejecting. */
export interface QueueCase {
  /** The guarantee, and what is seen of it. */
  readonly name: string;
  readonly needs?: readonly QueueNeed[];
  readonly settings?: QueueSettings;
  run(trial: QueueTrial): Promise<void>;
}

export const laneName = 'work.default';
const never = new AbortController().signal;
const utf8 = new TextEncoder();

/** A queue under trial, with the words that the cases are written in. */
export class QueueTrial {
  queue: Queue;
  readonly bench: QueueBench;
  /** Long enough to be seen, short enough to be waited for. */
  readonly shortMs: number;
  #count = 0;
  #stopped = false;

  constructor(bench: QueueBench) {
    this.bench = bench;
    this.queue = bench.queue;
    this.shortMs = bench.advance ? 1000 : 250;
  }

  /** Lets time pass for the queue. */
  async pass(ms: number): Promise<void> {
    if (this.bench.advance) this.bench.advance(ms);
    else await sleep(ms + 5);
  }

  /** Lets the process die and a new one open what it left. */
  async reopen(): Promise<void> {
    if (!this.bench.reopen) throw new Error('this bench cannot reopen its queue: the case must say that it needs it');
    this.queue = await this.bench.reopen();
  }

  /** How long a lease lasts that is to outlive the process: for long, where whoever opens the queue next ends it. */
  get leftMs(): number {
    return this.bench.shared ? this.shortMs * 4 : 3_600_000;
  }

  /** Like `reopen`, until the leases (of `leftMs`) of the dead process have ended: at once, or by their time. */
  async takeOver(): Promise<void> {
    await this.reopen();
    if (this.bench.shared) await this.pass(this.leftMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.queue.stop(5000);
  }

  message(options: Partial<NewMessage> & { readonly text?: string } = {}): NewMessage {
    const { text = 'body', ...rest } = options;
    // Descending, so that a queue that takes the order of ids for the order of enqueueing is found out.
    const id = `01TEST${String(999_999 - this.#count++).padStart(20, '0')}`;
    return {
      id,
      lane: laneName,
      envelope: {
        callId: `call-${id}`,
        method: 'POST',
        path: '/path',
        query: '?a=1&a=2',
        headers: { 'content-type': 'text/plain', 'x-many': ['one', 'two'], 'x-text': 'ünïcode 🔑' },
        source: 'http',
        depth: 0,
        acceptedAt: 1_767_225_600_000,
      },
      body: utf8.encode(text),
      priority: 5,
      maxAttempts: 3,
      resultTtlMs: 3_600_000,
      ...rest,
    };
  }

  /** Enqueues one that must be accepted, and returns its id. */
  async put(options: Partial<NewMessage> & { readonly text?: string } = {}): Promise<string> {
    const message = this.message(options);
    expect(await this.queue.enqueue([message])).toEqual([{ status: 'accepted', id: message.id }]);
    return message.id;
  }

  /** What can be leased now. */
  take(max: number, options: Partial<LeaseOptions> & { readonly lane?: string } = {}): Promise<Lease[]> {
    const { lane = laneName, ...rest } = options;
    return this.queue.lease(lane, max, { ttlMs: 60_000, waitMs: 0, signal: never, ...rest });
  }

  /** Leases one that must be there. */
  async one(options: Partial<LeaseOptions> & { readonly lane?: string } = {}): Promise<Lease> {
    const [lease] = await this.take(1, { waitMs: this.bench.advance ? 0 : 10_000, ...options });
    if (!lease) throw new Error(`there is nothing to lease in ${options.lane ?? laneName}`);
    return lease;
  }

  async nothing(lane = laneName): Promise<void> {
    expect((await this.take(10, { lane })).map(idOf)).toEqual([]);
  }

  async settle(lease: Lease, disposition: Disposition): Promise<void> {
    expect(await this.queue.settle(lease.receipt, disposition)).toBe('settled');
  }

  /** Leases and acknowledges until there is no more: the ids in the order in which they came. */
  async drain(lane = laneName): Promise<string[]> {
    const ids: string[] = [];
    for (;;) {
      const leases = await this.take(1, { lane });
      if (leases.length === 0) return ids;
      for (const lease of leases) {
        ids.push(lease.message.id);
        await this.settle(lease, { kind: 'ack' });
      }
    }
  }

  async kill(id: string, reason: Extract<Disposition, { kind: 'dead' }>['reason'] = 'permanent'): Promise<void> {
    const lease = await this.one();
    expect(lease.message.id).toBe(id);
    await this.settle(lease, { kind: 'dead', reason, error: { code: 'function.failed', message: 'no', status: 500 } });
  }

  async record(id: string): Promise<MessageRecord> {
    const record = await this.queue.find(id);
    if (!record) throw new Error(`nothing is known of ${id}`);
    return record;
  }

  async state(id: string): Promise<string | undefined> {
    return (await this.queue.find(id))?.state;
  }

  async lane(name = laneName): Promise<LaneStats> {
    const stats = (await this.queue.lanes()).find(({ lane }) => lane === name);
    if (!stats) throw new Error(`the queue does not list the lane ${name}`);
    return stats;
  }

  /** Waits, in real time, until something holds; a bound of the test, not of the queue. */
  async until(holds: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + 20_000;
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error('it did not come to be within 20 s');
      await sleep(5);
    }
  }

  /** G10, at the end of every case. */
  async expectConserved(): Promise<void> {
    if (this.#stopped) return;
    for (const stats of await this.queue.lanes()) expectConserved(stats);
  }
}

/** Nothing that was accepted is missing, and nothing is there twice. */
export function expectConserved({ lane, totals, ready, blocked, delayed, leased }: LaneStats): void {
  const { accepted, succeeded, dead, expired, cancelled } = totals;
  const accounted = ready + blocked + delayed + leased + succeeded + dead + expired + cancelled;
  for (const count of [ready, blocked, delayed, leased]) expect(count).toBeGreaterThanOrEqual(0);
  expect(accounted, `G10: of ${accepted} accepted in ${lane}, ${accounted} are accounted for`).toBe(accepted);
}

export function idOf(lease: Lease): string {
  return lease.message.id;
}

/** A signal that never aborts. */
export const unaborted: AbortSignal = never;
