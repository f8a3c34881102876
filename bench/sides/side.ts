import { setTimeout as wait } from 'node:timers/promises';
import type { Queue, Receipt } from '../../core/contracts/queue.ts';
import { CreditPool } from '../../core/delivery/credit.ts';
import { createId } from '../../core/delivery/ids.ts';
import { plainMessage } from '../../test/support/plain-message.ts';

/** Functions that run at a time, and callers that wait for their enqueue. */
export const concurrency = 32;
export const body = Buffer.alloc(256, 'b');
const lane = 'work.default';
const signal = new AbortController().signal;

/** One queue that is measured, of ours or of others. */
export interface Side {
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

/** A queue of ours that has been started, worked on as the lanes of the gateway do it. */
export function queueSide(queue: Queue, close: () => Promise<void>): Side {
  const message = (): ReturnType<typeof plainMessage> => plainMessage(createId(Date.now()), { body });
  return {
    accept: (count) => parallel(count, () => queue.enqueue([message()])),
    drain: async (count) => {
      const credit = new CreditPool(concurrency);
      const run = async (receipt: Receipt): Promise<void> => {
        await queue.settle(receipt, { kind: 'ack' });
        credit.giveBack();
      };
      for (let taken = 0; taken < count;) {
        await credit.take(signal);
        let wanted = 1;
        while (credit.tryTake()) wanted++;
        const leases = await queue.lease(lane, wanted, { ttlMs: 30_000, waitMs: 100, signal });
        taken += leases.length;
        for (let unused = wanted - leases.length; unused > 0; unused--) credit.giveBack();
        for (const { receipt } of leases) void run(receipt);
      }
      await credit.whenIdle();
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
          await queue.settle(receipt, { kind: 'ack' });
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
