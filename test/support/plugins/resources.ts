import { openSync } from 'node:fs';
import { NEVER } from 'rxjs';
import { z } from 'zod';
import type { Connector } from '../../../core/contracts/connector.ts';
import { defineConnector } from '../../../core/contracts/definition.ts';
import { garbageCollector } from '../../../core/kit/garbage.ts';

/** What `GET /resources` tells of the process that it runs in, after a garbage collection. */
export interface Resources {
  /** By their kind, as Node calls them: Timeout, TCPSocketWrap, FSReqCallback, … */
  readonly active: Readonly<Record<string, number>>;
  readonly heapBytes: number;
  /** What V8 holds of memory for the heap of the main thread, used or not. */
  readonly committedBytes: number;
  /** Of the main thread, outside of that heap. */
  readonly externalBytes: number;
}

const collect = garbageCollector();
const kept: Buffer[] = [];
const leaks = {
  none: () => undefined,
  memory: () => kept.push(Buffer.alloc(4096, 1)), // 140 MiB an hour, outside of the heap of V8.
  timers: () => setInterval(() => undefined, 60_000),
  descriptors: () => openSync('/dev/null', 'r'),
} as const;

function look(): Resources {
  collect();
  const active = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) active.set(kind, (active.get(kind) ?? 0) + 1);
  const { heapUsed, heapTotal, external } = process.memoryUsage();
  return {
    active: Object.fromEntries(active),
    heapBytes: heapUsed,
    committedBytes: heapTotal,
    externalBytes: external,
  };
}

/** Tells how the process of its gateway is, and leaks where it is asked to. */
export default defineConnector({
  kind: 'resources',
  summary: 'What the process holds. For tests.',
  config: z.strictObject({ leak: z.enum(['none', 'memory', 'timers', 'descriptors']).default('none') }),
  examples: [{}],
  create: ({ leak }, host): Connector => {
    let leaking: NodeJS.Timeout | undefined;
    return {
      start: async () => {
        leaking = setInterval(leaks[leak], 100);
        host.http.add({
          methods: ['GET'],
          path: '/resources',
          auth: 'public',
          handle: (_request, response) => void response.end(JSON.stringify(look())),
        });
      },
      deliveries: () => NEVER,
      health: () => ({ state: 'running', reconnects: 0 }),
      stop: async () => clearInterval(leaking),
    };
  },
});
