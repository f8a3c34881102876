import { describe, expect, it } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import { queueContract } from '../../core/testing/queue-contract.ts';
import { queueModel } from '../../core/testing/queue-model.ts';
import memory, { memoryConfig } from '../../plugins/queues/memory/index.ts';
import { MemoryQueue } from '../../plugins/queues/memory/queue.ts';
import { plainMessage } from '../support/plain-message.ts';
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

  /** Which of these are still known, once they have ended one after another with a result of so many bytes. */
  async function remembered(remember: object, ids: readonly string[], bytes: number): Promise<readonly string[]> {
    const queue = new MemoryQueue(memoryConfig.parse({ allowVolatile: true, remember }), systemClock);
    for (const id of ids) {
      await queue.enqueue([plainMessage(id)]);
      const [lease] = await queue.lease('work.default', 1, {
        ttlMs: 1000,
        waitMs: 0,
        signal: new AbortController().signal,
      });
      if (!lease) throw new Error(`${id} was not leased`);
      const result = { status: 200, headers: {}, body: new Uint8Array(bytes) };
      await queue.settle(lease.receipt, { kind: 'ack', result });
    }
    const records = await Promise.all(ids.map((id) => queue.find(id)));
    await queue.stop();
    return ids.filter((_id, index) => records[index] !== undefined);
  }

  it('forgets the oldest of what has ended where that is more than it may remember', async () => {
    const ids = ['a', 'b', 'c', 'd'];
    expect(await remembered({}, ids, 10)).toEqual(ids);
    expect(await remembered({ invocations: 2 }, ids, 10)).toEqual(['c', 'd']);
    expect(await remembered({ bytes: '1KiB' }, ids, 400)).toEqual(['c', 'd']);
  });
});
