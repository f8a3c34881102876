import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../core/contracts/clock.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import { sqliteConfig } from '../../plugins/queues/sqlite/index.ts';
import { SqliteQueue } from '../../plugins/queues/sqlite/queue.ts';
import { quietHost } from '../support/quiet-host.ts';

/** A queue on that file, not started yet. `freeDisk`: bytes that are to stay free on its disk. */
export function sqliteQueue(
  path: string,
  clock: Clock,
  settings: QueueSettings & { readonly freeDisk?: number } = {},
): SqliteQueue {
  const config = sqliteConfig.parse({ path });
  return new SqliteQueue(
    {
      ...config,
      aging: { step: settings.agingStepMs ?? config.aging.step },
      limits: {
        messages: settings.maxMessages ?? config.limits.messages,
        bytes: settings.maxBytes ?? config.limits.bytes,
        freeDisk: settings.freeDisk ?? config.limits.freeDisk,
      },
      laneLimits: { messages: settings.maxLaneMessages },
    },
    quietHost(clock),
  );
}

/** A started queue in a folder of its own, on a clock moved by hand. */
export async function sqliteBench(settings: QueueSettings = {}): Promise<QueueBench & { advance(ms: number): void }> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-queue-'));
  const path = join(folder, 'queue.sqlite');
  const clock = manualClock();
  let queue = sqliteQueue(path, clock, settings);
  await queue.start();
  return {
    queue,
    advance: (ms) => clock.advance(ms),
    jump: (ms) => clock.jump(ms),
    // Nothing of a lease is settled when it stops, so what the next one finds is what a dead process would leave. That
    // a killed one leaves no less is shown with a real process, in test/unit/sqlite-queue.test.ts.
    reopen: async () => {
      await queue.stop(5000);
      queue = sqliteQueue(path, clock, settings);
      await queue.start();
      return queue;
    },
    dispose: async () => {
      await queue.stop(5000);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
