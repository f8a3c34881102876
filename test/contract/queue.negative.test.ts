import { describe, expect, it } from 'vitest';
import { queueCases, runQueueCase } from '../../core/testing/queue-contract.ts';
import { checkQueueModel } from '../../core/testing/queue-model.ts';
import type { MemoryFaults } from '../../plugins/queues/memory/queue.ts';
import { memoryBench } from './memory-bench.ts';

const planted: readonly { readonly faults: MemoryFaults; readonly guarantee: string }[] = [
  { faults: { skipEpochCheck: true }, guarantee: 'G3' },
  { faults: { skipAttemptCount: true }, guarantee: 'G4' },
  { faults: { releaseKeyOnRetry: true }, guarantee: 'G7' },
];

/** The names of the guarantee's cases that fail. */
async function failuresOf(guarantee: string, faults: MemoryFaults): Promise<string[]> {
  const failed: string[] = [];
  for (const queueCase of queueCases) {
    if (!queueCase.name.startsWith(`${guarantee}:`) || queueCase.needs?.includes('reopen')) continue;
    const bench = await memoryBench(queueCase.settings, { faults });
    try {
      await runQueueCase(queueCase, bench);
    } catch {
      failed.push(queueCase.name);
    } finally {
      await bench.dispose();
    }
  }
  return failed;
}

describe('the contract of a queue finds what is planted', () => {
  for (const { faults, guarantee } of planted) {
    const [fault] = Object.keys(faults);

    it(`${guarantee} fails with ${fault}, and holds without`, async () => {
      expect(await failuresOf(guarantee, faults)).not.toEqual([]);
      expect(await failuresOf(guarantee, {})).toEqual([]);
    });

    it(`the model differs with ${fault}`, async () => {
      const create = (settings: Parameters<typeof memoryBench>[0]): ReturnType<typeof memoryBench> =>
        memoryBench(settings, { faults });
      await expect(checkQueueModel({ name: 'faulty', create })).rejects.toThrow('Property failed');
    });
  }
});
