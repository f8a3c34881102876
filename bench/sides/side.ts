import { setTimeout as wait } from 'node:timers/promises';
import { pino } from 'pino';
import { systemClock } from '../../core/contracts/clock.ts';
import type { Verdict } from '../../core/contracts/delivery.ts';
import type { Durability } from '../../core/contracts/invocation.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import { PacedCredit } from '../../core/delivery/credit.ts';
import { createId } from '../../core/delivery/ids.ts';
import { LaneSource } from '../../core/delivery/lanes.ts';
import { RecentInvocations } from '../../core/observe/recent-invocations.ts';
import { plainMessage } from '../../test/support/plain-message.ts';

/** Functions that run at a time, and callers that wait for their enqueue. */
export const concurrency = 32;
export const body = Buffer.alloc(256, 'b');
/** What each function answers, and the queue keeps. */
export const answer = 'ok';
const lane = 'work.default';
const signal = new AbortController().signal;

/** One queue that is measured, of ours or of others. */
export interface Side {
  /** How far what it has accepted survives. */
  readonly durability: Durability;
  /** One message at a time from each caller; each is waited for. */
  readonly accept: (count: number) => Promise<void>;
  /** Resolves when that many have been run, by a function that does nothing, and acknowledged. */
  readonly drain: (count: number) => Promise<void>;
  /** From the call that enqueues to the begin of the run, one after another, ms. */
  readonly latencies: (count: number) => Promise<number[]>;
  readonly close: () => Promise<void>;
}

export async function parallel(count: number, work: () => Promise<unknown>): Promise<void> {
  let left = count;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (left-- > 0) await work();
    }),
  );
}

/** From each `add` to the begin of its run, one after another, ms. `work` resolves when all have run. */
export async function probed(
  count: number,
  work: (began: () => void) => Promise<void>,
  add: () => Promise<unknown>,
): Promise<number[]> {
  const found: number[] = [];
  let sentAt = 0;
  const done = work(() => void found.push(performance.now() - sentAt));
  for (let round = 0; round < count; round++) {
    while (found.length < round) await wait(1);
    await wait(5);
    sentAt = performance.now();
    await add();
  }
  await done;
  return found;
}

const done: Verdict = {
  kind: 'done',
  outcome: { status: 200, headers: {}, body: answer, durationMs: 0, failure: undefined, error: undefined },
  effects: [],
};

/** A queue of ours that has been started, worked on by the lanes of the gateway. */
export function queueSide(queue: Queue, close: () => Promise<void>): Side {
  const message = (): ReturnType<typeof plainMessage> => plainMessage(createId(Date.now()), { body });
  const result = { status: 200, headers: {}, body: Buffer.from(answer) };
  const logger = pino({ level: 'error' });
  const lanes = new LaneSource({
    queueName: 'bench',
    queue,
    clock: systemClock,
    logger,
    recent: new RecentInvocations(),
    resultBody: 2 ** 20,
    stale: () => logger.error('a lease ran out'),
  });
  return {
    durability: queue.durability,
    accept: (count) => parallel(count, () => queue.enqueue([message()])),
    drain: async (count) => {
      const credit = new PacedCredit(concurrency);
      let left = count;
      const { promise: drained, resolve } = Promise.withResolvers<void>();
      const subscription = lanes.deliveries(lane, credit).subscribe((delivery) => {
        void Promise.resolve(delivery.settlement.settle(done, delivery)).then(() => {
          delivery.credit?.giveBack();
          if (--left === 0) resolve();
        });
      });
      await drained;
      subscription.unsubscribe();
      await lanes.whenIdle();
    },
    latencies: async (count) => {
      const found: number[] = [];
      for (let round = 0; round < count; round++) {
        const started = queue.lease(lane, 1, { ttlMs: 30_000, waitMs: 10_000, signal });
        await wait(5);
        const sentAt = performance.now();
        void queue.enqueue([message()]);
        for (const { receipt } of await started) {
          found.push(performance.now() - sentAt);
          await queue.settle(receipt, { kind: 'ack', result });
        }
      }
      return found;
    },
    close: async () => {
      await queue.stop(5000);
      await close();
    },
  };
}
