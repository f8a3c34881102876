import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import { LaneSource } from '../../core/delivery/lanes.ts';
import { Catalog } from '../../core/functions/catalog.ts';
import { LaneManager } from '../../core/host/lane-manager.ts';
import { type UsedQueue, usedQueue } from '../../core/host/used-queue.ts';
import { RecentInvocations } from '../../core/observe/recent-invocations.ts';
import { memoryConfig } from '../../plugins/queues/memory/index.ts';
import { MemoryQueue } from '../../plugins/queues/memory/queue.ts';
import { plainMessage } from '../support/plain-message.ts';

const outcome = { status: 200, headers: {}, body: 'ok', durationMs: 0, failure: undefined, error: undefined };
const error = { code: 'function.failed', message: 'no' } as const;
const cleanups: (() => unknown)[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  cleanups.push(() => vi.useRealTimers());
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** The lanes of a queue, read as the gateway does; nothing is looked at by the clock unless time is passed. */
async function read(): Promise<{
  /** As plugins, other gateways and earlier runs give to it. */
  readonly inner: MemoryQueue;
  readonly queue: UsedQueue;
  readonly given: Delivery[];
  readonly end: (delivery: Delivery | undefined, verdict: Verdict) => Promise<void>;
  /** Requests of each lane that the queue has not answered. */
  readonly waiting: ReadonlyMap<string, number>;
  readonly pass: (seconds: number) => Promise<void>;
}> {
  const inner = new MemoryQueue(memoryConfig.parse({ allowVolatile: true }), systemClock);
  await inner.start();
  const waiting = new Map<string, number>();
  const leaseNow = inner.lease.bind(inner);
  inner.lease = async (lane, max, options) => {
    waiting.set(lane, (waiting.get(lane) ?? 0) + 1);
    const leases = await leaseNow(lane, max, options);
    waiting.set(lane, (waiting.get(lane) ?? 0) - 1);
    return leases;
  };
  const queue = usedQueue(inner);
  const logger = pino({ enabled: false });
  const recent = new RecentInvocations();
  const parts = { queueName: 'main', clock: systemClock, logger, recent, resultBody: 1000, stale: () => {} };
  const source = new LaneSource({ ...parts, queue });
  const manager = new LaneManager('main', queue, source, new Catalog('default', systemClock), logger);
  const given: Delivery[] = [];
  const opening = manager.sources().subscribe((lane) => lane.subscribe((delivery) => given.push(delivery)));
  cleanups.push(async () => {
    manager.stop();
    opening.unsubscribe();
    await inner.stop();
  });
  await turns();
  return {
    inner,
    queue,
    given,
    waiting,
    end: async (delivery, verdict) => {
      await delivery?.settlement.settle(verdict, delivery);
      delivery?.credit?.giveBack();
      await turns();
    },
    pass: async (seconds) => {
      for (let half = 0; half < seconds * 2; half++) {
        vi.advanceTimersByTime(500);
        await turns();
      }
    },
  };
}

it('asks for nothing of a lane that nobody uses, and gives what comes from here without a look', async () => {
  const { queue, given, waiting } = await read();
  expect(waiting.size).toBe(0);
  await queue.enqueue([plainMessage('m0')]);
  await turns();
  expect(given).toHaveLength(1);
  expect([...waiting.keys()]).toEqual(['work.default']);
});

it('gives what comes from elsewhere at the next look, and not before: so it is the use that was seen above', async () => {
  const { inner, given, pass } = await read();
  await inner.enqueue([plainMessage('m0')]);
  await turns();
  expect(given).toHaveLength(0);
  await pass(2);
  expect(given).toHaveLength(1);
});

it('gives what follows a run, and what is replayed, without a look', async () => {
  const { queue, given, end } = await read();
  await queue.enqueue([plainMessage('m0')]);
  await turns();
  await end(given[0], { kind: 'done', outcome, effects: [plainMessage('m1', { lane: 'next.default' })] });
  expect(given[1]?.request.function).toBe('next.default');
  await end(given[1], { kind: 'dead', reason: 'max_attempts', outcome: { ...outcome, error }, effects: [] });
  await queue.deadLetters.replay('m1', { id: 'm2', to: 'other.default' });
  await turns();
  expect(given[2]?.request.function).toBe('other.default');
});

it('replays in the lane of the letter, when no other is named', async () => {
  const { queue, inner, given, end, pass } = await read();
  await inner.enqueue([plainMessage('m0')]);
  await pass(2);
  await end(given[0], { kind: 'dead', reason: 'max_attempts', outcome: { ...outcome, error }, effects: [] });
  await pass(60);
  await queue.deadLetters.replay('m0', { id: 'm1' });
  await turns();
  expect(given[1]?.request.lease?.message.id).toBe('m1');
});

it('stops reading a lane that was empty for 30 s, and reads it again when it is used', async () => {
  const { queue, given, end, waiting, pass } = await read();
  await queue.enqueue([plainMessage('m0')]);
  await turns();
  await end(given[0], { kind: 'done', outcome, effects: [] });
  await pass(20);
  expect(waiting.get('work.default')).toBe(1);
  await pass(20);
  expect(waiting.get('work.default')).toBe(0);
  await queue.enqueue([plainMessage('m1')]);
  await turns();
  expect(given).toHaveLength(2);
});

it('reads a lane for as long as anything of it runs or waits for its time', async () => {
  const { queue, given, end, waiting, pass } = await read();
  await queue.enqueue([plainMessage('m0')]);
  await turns();
  await pass(60);
  await end(given[0], { kind: 'retry', delayMs: 3_600_000, outcome, counted: true });
  await pass(60);
  expect(waiting.get('work.default')).toBe(1);
});
