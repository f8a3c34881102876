import { z } from 'zod';
import { MillraceError } from '../contracts/errors.ts';
import type { LaneStats } from '../contracts/queue.ts';
import { lanesOf } from '../functions/catalog.ts';
import { qualified, shown } from './names.ts';
import { type ApiRoute, route } from './route.ts';
import { functionName, queueRow, refusals } from './schemas.ts';
import type { ManagedQueue, ManagementServices } from './services.ts';
import { didYouMean } from '../config/suggest.ts';

export type QueueRow = z.input<typeof queueRow>;

const tag = 'queues';
const laneParams = z.strictObject({ name: functionName });
const pausedView = z.object({ name: z.string(), queues: z.array(z.string()), paused: z.boolean() });

export const queueRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/queues',
    auth: 'operate',
    tag,
    summary: 'What waits, at every level: gateway waiting rooms, function lanes, work queues of providers.',
    responses: { 200: { description: 'One row a queue.', schema: z.array(queueRow) } },
    handle: async (_input, { services }) => queueRows(services),
  }),
  pauseRoute('pause', 'Leases no more work of a function; what comes in is still accepted.'),
  pauseRoute('resume', 'Leases work of a function again.'),
];

function pauseRoute(action: 'pause' | 'resume', summary: string): ApiRoute {
  return route({
    method: 'POST',
    path: `/system/queues/{name}/${action}`,
    auth: 'operate',
    tag,
    summary,
    params: laneParams,
    responses: { 200: { description: 'Done; survives a restart.', schema: pausedView }, ...refusals('queue.unknown') },
    handle: async ({ params }, { services }): Promise<z.input<typeof pausedView>> => {
      const lane = qualified(params.name, services);
      const queues = await queuesOf(lane, services);
      for (const [, queue] of queues) await queue[action](lane);
      return { name: lane, queues: queues.map(([name]) => name), paused: action === 'pause' };
    },
  });
}

/** The queues that hold work of the function, or are going to. */
async function queuesOf(lane: string, services: ManagementServices): Promise<[name: string, queue: ManagedQueue][]> {
  const assigned = services.catalog.get(lane)?.policy.queue;
  const found: [string, ManagedQueue][] = [];
  const known = services.catalog.list().map(({ name }) => name);
  for (const [name, queue] of services.queues) {
    const lanes = (await queue.lanes()).map((stats) => stats.lane);
    known.push(...lanes);
    if (name === assigned || lanes.includes(lane)) found.push([name, queue]);
  }
  if (found.length > 0) return found;
  throw new MillraceError('queue.unknown', `no function has a queue ${shown(lane)}${didYouMean(lane, known)}`);
}

export async function queueRows(services: ManagementServices): Promise<QueueRow[]> {
  const rooms = services.waitingRooms().map((room): QueueRow => ({
    ...empty,
    level: 'gateway',
    name: room.function,
    ready: room.waiting,
    leased: room.running,
    oldestAgeSeconds: seconds(room.oldestAgeMs),
  }));
  const lanes: QueueRow[] = [];
  for (const [name, queue] of services.queues) {
    for (const stats of await lanesOf(name, queue, services.catalog)) lanes.push(rowOfLane(name, queue, stats));
  }
  const pools = services.workQueues().map((pool): QueueRow => ({
    ...empty,
    level: 'provider',
    name: pool.name,
    provider: pool.provider,
    ready: pool.waiting,
    leased: pool.running,
    oldestAgeSeconds: seconds(pool.oldestAgeMs),
  }));
  return [...rooms, ...lanes, ...pools];
}

const empty = { blocked: 0, delayed: 0, dead: 0, paused: false, durability: 'memory' };

function rowOfLane(queueName: string, queue: ManagedQueue, stats: LaneStats): QueueRow {
  const { lane, ready, blocked, delayed, leased, dead, oldestReadyAgeMs, paused } = stats;
  return {
    level: 'function',
    name: lane,
    queue: queueName,
    ready,
    blocked,
    delayed,
    leased,
    dead,
    oldestAgeSeconds: seconds(oldestReadyAgeMs),
    paused,
    durability: queue.durability,
  };
}

function seconds(ms: number): number {
  return Math.round(ms) / 1000;
}
