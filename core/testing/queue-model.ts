import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Disposition, NewMessage, Queue, Receipt } from '../contracts/queue.ts';
import { anyQueueCommand, type QueueCommand } from './queue-commands.ts';
import { QueueOracle, type OracleLane, type OracleRecord } from './queue-oracle.ts';
import { expectConserved, unaborted, type QueueBench, type QueueSettings } from './queue-trial.ts';

export interface QueueModelOptions {
  readonly name: string;
  /** Makes a new, empty, started queue on a clock moved by hand. */
  readonly create: (settings: QueueSettings) => Promise<QueueBench>;
  /** How many sequences of commands are tried. */
  readonly runs?: number;
  /** The same seed gives the same sequences. */
  readonly seed?: number;
}

const agingStepMs = 700;

/** Registers a test that runs random commands on a queue and on the plainest one there is, and compares all that shows. */
export function queueModel(options: QueueModelOptions): void {
  describe(`${options.name} behaves as the model of a queue`, () => {
    it('G1–G13: whatever is asked of it, in whatever order', () => checkQueueModel(options), 300_000);
  });
}

/** Rejects with the shortest sequence of commands found after which the queue and the model differ. */
export async function checkQueueModel({ create, runs = 200, seed = 20_260_101 }: QueueModelOptions): Promise<void> {
  // Without the size most sequences would be too short for anything to go wrong in them.
  const sequences = fc.array(anyQueueCommand, { maxLength: 80, size: 'max' });
  const property = fc.asyncProperty(sequences, async (commands) => {
    const bench = await create({ agingStepMs });
    try {
      const pair = new Pair(bench);
      for (const command of commands) {
        await pair.run(command);
        await pair.compare();
      }
    } finally {
      await bench.dispose();
    }
  });
  await fc.assert(property, { numRuns: runs, seed });
}

/** A queue and its model, which are told the same. */
class Pair {
  readonly #bench: QueueBench;
  readonly #advance: (ms: number) => void;
  #queue: Queue;
  readonly #oracle = new QueueOracle(agingStepMs);
  readonly #messages: NewMessage[] = [];
  readonly #ids: string[] = [];
  readonly #receipts: { readonly queue: Receipt; readonly oracle: Receipt }[] = [];

  constructor(bench: QueueBench) {
    if (!bench.advance) throw new Error('the model needs a queue on a clock that is moved by hand');
    this.#bench = bench;
    this.#advance = (ms) => bench.advance?.(ms);
    this.#queue = bench.queue;
  }

  async run(command: QueueCommand): Promise<void> {
    switch (command.do) {
      case 'enqueue':
        return this.#enqueue(this.#message(command.options));
      case 'enqueue again': {
        const message = pick(this.#messages, command.which);
        return message && this.#enqueue(message);
      }
      case 'lease':
        return this.#lease(command);
      case 'settle': {
        const receipt = pick(this.#receipts, command.which);
        const disposition = this.#withEffect(command.disposition, command.effect);
        if (!receipt) return;
        const answer = await this.#queue.settle(receipt.queue, disposition);
        return expect(answer).toBe(this.#oracle.settle(receipt.oracle, disposition));
      }
      case 'extend': {
        const receipt = pick(this.#receipts, command.which);
        if (!receipt) return;
        const answer = await this.#queue.extend(receipt.queue, command.ttlMs);
        return expect(answer).toBe(this.#oracle.extend(receipt.oracle, command.ttlMs));
      }
      case 'cancel': {
        const id = pick(this.#ids, command.which) ?? 'unknown';
        return expect(await this.#queue.cancel(id)).toBe(this.#oracle.cancel(id));
      }
      case 'pause':
        this.#oracle.pause(command.lane);
        return this.#queue.pause(command.lane);
      case 'resume':
        this.#oracle.resume(command.lane);
        return this.#queue.resume(command.lane);
      case 'replay': {
        const id = pick(this.#oracle.letters(), command.which) ?? 'unknown';
        const newId = this.#newId();
        const replayed = await this.#queue.deadLetters.replay(id, { id: newId, to: command.to });
        return expect(replayed).toBe(this.#oracle.replay(id, newId, command.to));
      }
      case 'purge': {
        const id = pick(this.#oracle.letters(), command.which) ?? 'unknown';
        return expect(await this.#queue.deadLetters.purge({ id })).toBe(this.#oracle.purge(id));
      }
      case 'advance':
        this.#advance(command.ms);
        return this.#oracle.advance(command.ms);
      case 'reopen':
        if (!this.#bench.reopen) return;
        this.#queue = await this.#bench.reopen();
        // Where others may share the queue, the leases of the old process go on.
        return this.#bench.shared ? undefined : this.#oracle.reopen();
    }
  }

  async compare(): Promise<void> {
    const stats = await this.#queue.lanes();
    for (const lane of stats) expectConserved(lane);
    expect(await this.#lanes()).toEqual(this.#oracle.lanes());
    const { items } = await this.#queue.deadLetters.list({}, 1000);
    expect(items.map(({ id }) => id).toSorted()).toEqual(this.#oracle.letters().toSorted());
    const records = await Promise.all(this.#ids.map((id) => this.#record(id)));
    expect(records).toEqual(this.#ids.map((id) => this.#oracle.record(id)));
  }

  async #enqueue(message: NewMessage): Promise<void> {
    expect(await this.#queue.enqueue([message])).toEqual([this.#oracle.enqueue(message)]);
  }

  async #lease({ lane, max, ttlMs }: Extract<QueueCommand, { do: 'lease' }>): Promise<void> {
    const leases = await this.#queue.lease(lane, max, { ttlMs, waitMs: 0, signal: unaborted });
    const expected = this.#oracle.lease(lane, max, ttlMs);
    expect(leases.map(({ message, attempt }) => [message.id, attempt])).toEqual(
      expected.map(({ receipt, attempt }) => [receipt.id, attempt]),
    );
    for (const [index, { receipt }] of leases.entries()) {
      const oracle = expected[index]?.receipt;
      if (oracle) this.#receipts.push({ queue: receipt, oracle });
    }
  }

  #message(options: Partial<NewMessage> & Pick<NewMessage, 'lane'>): NewMessage {
    const message: NewMessage = {
      id: this.#newId(),
      envelope: {
        callId: 'call',
        method: 'POST',
        path: '',
        query: '',
        headers: {},
        source: 'model',
        depth: 0,
        acceptedAt: 0,
      },
      body: new Uint8Array([1]),
      priority: 5,
      maxAttempts: 3,
      resultTtlMs: 86_400_000,
      ...options,
    };
    this.#messages.push(message);
    return message;
  }

  #newId(): string {
    const id = `01MODEL${String(999_999 - this.#ids.length).padStart(19, '0')}`;
    this.#ids.push(id);
    return id;
  }

  #withEffect(disposition: Disposition, lane: string | undefined): Disposition {
    if (lane === undefined || (disposition.kind !== 'ack' && disposition.kind !== 'dead')) return disposition;
    return { ...disposition, effects: [this.#message({ lane })] };
  }

  async #record(id: string): Promise<OracleRecord | undefined> {
    const record = await this.#queue.find(id);
    return (
      record && {
        state: record.state,
        attempt: record.attempt,
        reason: record.deadReason,
        errors: record.errors.map(({ attempt, code }) => `${attempt} ${code}`),
        due: record.dueAt !== undefined,
      }
    );
  }

  async #lanes(): Promise<Record<string, OracleLane>> {
    const lanes: Record<string, OracleLane> = {};
    for (const { lane, paused, dead, ready, blocked, delayed, leased, totals } of await this.#queue.lanes()) {
      // A queue may also list a lane that somebody has only asked for.
      if (totals.accepted === 0 && !paused) continue;
      const { accepted, succeeded, dead: died, expired, cancelled, stale } = totals;
      lanes[lane] = {
        paused,
        dead,
        counts: { ready, blocked, delayed, leased },
        totals: { accepted, succeeded, dead: died, expired, cancelled, stale },
      };
    }
    return lanes;
  }
}

function pick<Item>(items: readonly Item[], which: number): Item | undefined {
  // From the end: what is new is more interesting, and stays the same when a sequence is made shorter at its front.
  return items.at(-1 - (which % Math.max(1, items.length)));
}
