import { Observable } from 'rxjs';
import { z } from 'zod';
import { defineConnection, defineConnector, defineQueue } from '../../../core/contracts/definition.ts';
import { connectionName } from '../../../core/config/units.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import memoryQueue, { memoryConfig } from '../../../plugins/queues/memory/index.ts';

/** How often parts of that name have been started, in this process. */
export const startsOf: Map<string, number> = ((
  globalThis as { millraceTestStarts?: Map<string, number> }
).millraceTestStarts ??= new Map());

/** A broker that takes connections at once. */
const connection = defineConnection({
  kind: 'late',
  summary: 'Takes connections, and is not whole yet. For tests.',
  config: z.strictObject({}),
  examples: [{}],
  create: () => ({
    start: async () => undefined,
    stop: async () => undefined,
    health: () => ({ state: 'connected', reconnects: 0 }),
  }),
});

const config = z.strictObject({
  connection: connectionName,
  /** So many starts go wrong. */
  times: z.number(),
  /** Whether what they say is no matter of waiting. */
  forGood: z.boolean().default(false),
});

function startLate(name: string, { times, forGood }: z.output<typeof config>): void {
  const count = (startsOf.get(name) ?? 0) + 1;
  startsOf.set(name, count);
  if (count > times) return;
  const after = forGood ? {} : { retryAfterSeconds: 1 };
  throw new MillraceError('queue.unavailable', `start ${count} of ${name} went wrong`, after);
}

const common = { kind: 'late', connection: 'late', summary: 'Starts when it may. For tests.', config } as const;

export default [
  connection,
  defineQueue({
    ...common,
    examples: [{ times: 1 }],
    capabilities: memoryQueue.capabilities,
    create: (settings, host) => {
      const queue = memoryQueue.create(memoryConfig.parse({ allowVolatile: true }), host);
      const start = queue.start.bind(queue);
      queue.start = async () => {
        startLate(host.name, settings);
        await start();
      };
      return queue;
    },
  }),
  defineConnector({
    ...common,
    examples: [{ times: 1 }],
    create: (settings, host) => ({
      start: async () => startLate(host.name, settings),
      deliveries: () => new Observable(),
      stop: async () => undefined,
      health: () => ({ state: 'running', reconnects: 0, lag: undefined, lastError: undefined }),
    }),
  }),
];
