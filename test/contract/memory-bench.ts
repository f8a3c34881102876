import { manualClock, type ManualClock } from '../../core/testing/manual-clock.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import { memoryConfig } from '../../plugins/queues/memory/index.ts';
import { MemoryQueue, type MemoryFaults } from '../../plugins/queues/memory/queue.ts';

/** A started memory queue on a clock moved by hand, with bugs in it where asked. */
export async function memoryBench(
  settings: QueueSettings = {},
  { faults, clock = manualClock() }: { readonly faults?: MemoryFaults; readonly clock?: ManualClock } = {},
): Promise<QueueBench & { advance(ms: number): void }> {
  const config = memoryConfig.parse({ allowVolatile: true });
  const queue = new MemoryQueue(
    {
      ...config,
      aging: { step: settings.agingStepMs ?? config.aging.step },
      limits: {
        messages: settings.maxMessages ?? config.limits.messages,
        bytes: settings.maxBytes ?? config.limits.bytes,
      },
      laneLimits: { messages: settings.maxLaneMessages },
    },
    clock,
    faults,
  );
  await queue.start();
  return {
    queue,
    advance: (ms) => clock.advance(ms),
    jump: (ms) => clock.jump(ms),
    dispose: () => queue.stop(),
  };
}
