import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import { PacedCredit } from '../../core/delivery/credit.ts';
import { LaneSource } from '../../core/delivery/lanes.ts';
import { memoryConfig } from '../../plugins/queues/memory/index.ts';
import { MemoryQueue } from '../../plugins/queues/memory/queue.ts';
import { plainMessage } from '../support/plain-message.ts';

const lane = 'work.default';
const done: Verdict = {
  kind: 'done',
  outcome: { status: 200, headers: {}, body: 'ok', durationMs: 0, failure: undefined, error: undefined },
  effects: [],
};
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** A lane with `count` messages whose queue takes no settlement until it is told to. */
async function open(
  count: number,
  limit: number,
): Promise<{
  readonly queue: MemoryQueue;
  readonly lanes: LaneSource;
  readonly credit: PacedCredit;
  /** What the lane gave, in order. */
  readonly given: Delivery[];
  /** As the pipeline does it. */
  readonly settle: (delivery: Delivery) => Promise<void>;
  /** From now on the queue takes what it is told. */
  readonly release: () => void;
  readonly unsubscribe: () => void;
}> {
  const queue = new MemoryQueue(memoryConfig.parse({ allowVolatile: true }), systemClock);
  await queue.start();
  await queue.enqueue(Array.from({ length: count }, (_, index) => plainMessage(`m${index}`)));
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const settleNow = queue.settle.bind(queue);
  queue.settle = async (...how) => {
    await released;
    return settleNow(...how);
  };
  const lanes = new LaneSource({
    queueName: 'main',
    queue,
    clock: systemClock,
    logger: pino({ enabled: false }),
    running: new Map(),
    resultBody: 1000,
    stale: () => {},
  });
  const credit = new PacedCredit(limit);
  const given: Delivery[] = [];
  const subscription = lanes.deliveries(lane, credit).subscribe((delivery) => given.push(delivery));
  cleanups.push(async () => {
    subscription.unsubscribe();
    release();
    await queue.stop();
  });
  return {
    queue,
    lanes,
    credit,
    given,
    settle: async (delivery) => {
      await delivery.settlement.settle(done, delivery);
      delivery.credit?.giveBack();
    },
    release,
    unsubscribe: () => subscription.unsubscribe(),
  };
}

/** The queue has answered all that a lane can ask of it. */
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};

describe('lanes of a queue', () => {
  it('gives the next message while the queue takes the verdict of the one before', async () => {
    const { given, settle } = await open(3, 1);
    await expect.poll(() => given.length).toBe(1);
    void settle(given[0] as Delivery);
    await expect.poll(() => given.length).toBe(2);
  });

  it('never gives more than the credit while nothing has ended, nor more than twice that unsettled', async () => {
    const { given, settle, credit } = await open(20, 3);
    await expect.poll(() => given.length).toBe(3);
    await turns();
    expect(given).toHaveLength(3);
    for (let ended = 0; ended < given.length; ended++) {
      void settle(given[ended] as Delivery);
      await turns();
    }
    expect(given).toHaveLength(6);
    expect(credit.outstanding).toBe(3);
  });

  it('goes on when a queue that was slow takes what it was told, and gives all credit back', async () => {
    const { queue, given, settle, release, credit, unsubscribe } = await open(20, 3);
    for (let ended = 0; ended < 6; ended++) {
      await expect.poll(() => given.length).toBeGreaterThan(ended);
      void settle(given[ended] as Delivery);
    }
    release();
    for (let ended = 6; ended < 20; ended++) {
      await expect.poll(() => given.length).toBeGreaterThan(ended);
      void settle(given[ended] as Delivery);
    }
    await expect.poll(async () => (await queue.lanes())[0]?.leased).toBe(0);
    expect(new Set(given.map(({ request }) => request.lease?.message.id)).size).toBe(20);
    unsubscribe();
    await expect.poll(() => credit.outstanding).toBe(0);
  });

  it('is idle only when the last verdict has been taken', async () => {
    const { lanes, given, settle, release, unsubscribe } = await open(1, 1);
    await expect.poll(() => given.length).toBe(1);
    void settle(given[0] as Delivery);
    unsubscribe();
    let isIdle = false;
    const idle = lanes.whenIdle().then(() => (isIdle = true));
    await turns();
    expect(isIdle).toBe(false);
    release();
    await idle;
  });
});
