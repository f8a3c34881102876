import { describe, expect, it } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import { queueContract } from '../../core/testing/queue-contract.ts';
import { queueModel } from '../../core/testing/queue-model.ts';
import memory, { memoryConfig } from '../../plugins/queues/memory/index.ts';
import { MemoryQueue } from '../../plugins/queues/memory/queue.ts';
import { memoryBench } from './memory-bench.ts';

queueContract({ name: 'queue memory', capabilities: memory.capabilities, create: memoryBench });
queueModel({ name: 'queue memory', create: memoryBench });

describe('queue memory', () => {
  it('does not start unless it is told that everything may be lost', async () => {
    const queue = new MemoryQueue(memoryConfig.parse({}), systemClock);
    await expect(queue.start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('allowVolatile: true'),
    });
  });
});
