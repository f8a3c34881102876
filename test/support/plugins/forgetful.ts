import { z } from 'zod';
import { defineQueue } from '../../../core/contracts/definition.ts';
import memoryQueue from '../../../plugins/queues/memory/index.ts';

/** A queue that says of everything that it is cancelled, and does nothing about it. */
export default defineQueue({
  kind: 'forgetful',
  summary: 'Forgets what was cancelled. For tests.',
  config: z.strictObject({}),
  examples: [{}],
  capabilities: memoryQueue.capabilities,
  create: (_config, host) => {
    const queue = memoryQueue.create(memoryQueue.config.parse({ allowVolatile: true }), host);
    queue.cancel = async () => 'cancelled';
    return queue;
  },
});
