import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import { PacedCredit } from '../../core/delivery/credit.ts';
import { LaneSource } from '../../core/delivery/lanes.ts';
import { RecentInvocations } from '../../core/observe/recent-invocations.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';
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
    recent: new RecentInvocations(),
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

/** A lane of a queue that answers each request when it is told to, for runs that end as the test says. */
async function openSlow(limit: number): Promise<{
  readonly queue: MemoryQueue;
  readonly lanes: LaneSource;
  /** How many leases each request asked for that has not been answered. */
  readonly asked: number[];
  /** Answers the oldest request after so long. */
  readonly answer: (afterMs: number) => Promise<void>;
  readonly given: Delivery[];
  /** Everything that was given ends, and the queue takes it. */
  readonly end: (runMs: number) => Promise<void>;
  readonly unsubscribe: () => void;
}> {
  const queue = new MemoryQueue(memoryConfig.parse({ allowVolatile: true }), systemClock);
  await queue.start();
  await queue.enqueue(Array.from({ length: 100 }, (_, index) => plainMessage(`m${index}`)));
  const clock = manualClock();
  const asked: number[] = [];
  const answers: (() => void)[] = [];
  const leaseNow = queue.lease.bind(queue);
  queue.lease = async (name, max, options) => {
    asked.push(max);
    await new Promise<void>((resolve) => answers.push(resolve));
    asked.shift();
    return leaseNow(name, max, { ...options, waitMs: 0 });
  };
  const lanes = new LaneSource({
    queueName: 'main',
    queue,
    clock,
    logger: pino({ enabled: false }),
    recent: new RecentInvocations(),
    resultBody: 1000,
    stale: () => {},
  });
  const given: Delivery[] = [];
  const running: Delivery[] = [];
  const subscription = lanes.deliveries(lane, new PacedCredit(limit)).subscribe((delivery) => {
    given.push(delivery);
    running.push(delivery);
  });
  cleanups.push(async () => {
    subscription.unsubscribe();
    for (const resolve of answers) resolve();
    await queue.stop();
  });
  await turns();
  return {
    queue,
    lanes,
    asked,
    given,
    answer: async (afterMs) => {
      clock.advance(afterMs);
      answers.shift()?.();
      await turns();
    },
    end: async (runMs) => {
      clock.advance(runMs);
      for (const delivery of running.splice(0)) {
        await delivery.settlement.settle(done, delivery);
        delivery.credit?.giveBack();
      }
      await turns();
    },
    unsubscribe: () => subscription.unsubscribe(),
  };
}

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

  it('asks for the next ones while a function that is quicker than the queue runs, and for no more than it can run', async () => {
    const { asked, answer, end, given } = await openSlow(8);
    expect(asked).toEqual([8]);
    await answer(10);
    expect(asked).toEqual([]);
    await end(1);
    // Eight can begin, and as many more end until the second answer is there.
    expect(asked).toEqual([8, 8]);
    await answer(10);
    expect(given).toHaveLength(16);
    expect(asked).toEqual([8]);
    await end(1);
    expect(asked).toEqual([8, 8]);
  });

  it('asks for as many in advance as end until they come', async () => {
    const { asked, answer, end, given } = await openSlow(8);
    await answer(10);
    await end(40);
    // In 10 ms end two of eight that take 40 ms.
    expect(asked).toEqual([8, 2]);
    await answer(10);
    await answer(0);
    expect(given).toHaveLength(16);
    expect(asked).toEqual([]);
  });

  it('asks for nothing that a function which is slower than the queue could not begin', async () => {
    const { queue, asked, answer, end, given } = await openSlow(8);
    await answer(10);
    await end(1000);
    expect(asked).toEqual([8]);
    await answer(10);
    expect(given).toHaveLength(16);
    expect(asked).toEqual([]);
    expect((await queue.lanes())[0]?.leased).toBe(8);
  });

  it('hands back what it has asked for in advance when the function has become slow', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    cleanups.push(() => vi.useRealTimers());
    const { queue, lanes, asked, answer, end, given } = await openSlow(8);
    lanes.start();
    cleanups.push(() => lanes.stop());
    await answer(10);
    await end(1);
    await answer(10);
    await answer(6000);
    expect(given).toHaveLength(16);
    expect((await queue.lanes())[0]?.leased).toBe(16);
    vi.advanceTimersByTime(5000);
    await turns();
    // They have not waited for long enough, the others are extended.
    expect((await queue.lanes())[0]?.leased).toBe(16);
    await answer(6000);
    vi.advanceTimersByTime(5000);
    await turns();
    const [stats] = await queue.lanes();
    expect(stats).toMatchObject({ leased: 8, ready: 84, totals: { retried: 0 } });
    expect(asked).toEqual([]);
    await end(1);
    await answer(10);
    expect(given.at(-1)?.request.lease?.attempt).toBe(1);
  });

  it('hands back what it has asked for in advance when nobody listens any more', async () => {
    const { queue, lanes, answer, end, given, unsubscribe } = await openSlow(8);
    await answer(10);
    await end(1);
    await answer(10);
    await answer(10);
    expect(given).toHaveLength(16);
    unsubscribe();
    await turns();
    expect((await queue.lanes())[0]).toMatchObject({ leased: 8, ready: 84 });
    let isIdle = false;
    void lanes.whenIdle().then(() => (isIdle = true));
    await turns();
    expect(isIdle).toBe(false);
    await end(1);
    expect(isIdle).toBe(true);
  });
});
