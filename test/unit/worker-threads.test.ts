import { readdirSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { makeCall, makeInvocation } from '../../core/testing/index.ts';
import { workerBench, type WorkerBench } from '../contract/worker-bench.ts';

let bench: WorkerBench;

afterEach(() => bench.dispose());

/** Threads of this process, as the kernel counts them. */
function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}

test('a function that nobody has called has no thread, and is ready and told of like any other', async () => {
  bench = await workerBench();
  const before = threadCount();
  const { name } = await bench.deployModule('echo.test', { module: 'echo.ts', pool: { max: 3 } });
  expect(bench.statuses.at(-1)).toMatchObject({ state: 'ready', replicas: 1, availableReplicas: 1, capacity: 3 });
  expect(bench.provider.workQueues?.()).toEqual([{ name, waiting: 0, running: 0, oldestAgeMs: 0 }]);
  const again = await bench.deployModule(name, { module: 'echo.ts', pool: { max: 2 } });
  expect(bench.statuses.at(-1)?.capacity).toBe(2);
  expect(threadCount()).toBe(before);
  const { status } = await again.provider.invoke(again, makeCall(makeInvocation(name)));
  expect(status).toBe(200);
  expect(threadCount()).toBeGreaterThan(before);
});

test('threads that are to be kept are there before the first call', async () => {
  bench = await workerBench({ pool: { min: 1 } });
  const before = threadCount();
  await bench.deploy('echo');
  await vi.waitUntil(() => threadCount() > before, 10_000);
});
