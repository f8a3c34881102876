import { Counter, Gauge, type Registry } from './prometheus.ts';
import type { LaneStats, Queue } from '../contracts/queue.ts';
import { type Catalog, lanesOf } from '../functions/catalog.ts';

const labelNames = ['queue', 'function_name'] as const;

const gaugeHelp = {
  ready: 'Invocations that may run now.',
  blocked: 'Invocations that wait behind another one of their order key.',
  delayed: 'Invocations that wait for their time.',
  leased: 'Invocations that were handed out.',
  dead: 'Dead letters that are kept.',
  bytes: 'Bytes of the bodies that wait.',
} as const;

const counterHelp = {
  accepted: 'Invocations accepted.',
  succeeded: 'Invocations that ended well.',
  dead: 'Invocations that ended as dead letters.',
  expired: 'Invocations that were not run in time.',
  cancelled: 'Invocations that were cancelled.',
  retried: 'Attempts that another one follows.',
  stale: 'Settlements that came after their lease was lost.',
} as const;

/** Difference between what a lane accepted and what it can account for. Anything but 0 is a bug. */
export function drift({ ready, blocked, delayed, leased, totals }: LaneStats): number {
  const ended = totals.succeeded + totals.dead + totals.expired + totals.cancelled;
  return totals.accepted - ready - blocked - delayed - leased - ended;
}

/**
 * Metrics of what the queues hold. Returns the function that brings them up to date, to be awaited before each scrape:
 * prom-client reads all metrics at once, so one metric's `collect` comes too late for the others.
 */
export function queueMetrics(
  registry: Registry,
  queues: ReadonlyMap<string, Queue>,
  catalog: Pick<Catalog, 'list'>,
): () => Promise<void> {
  const registers = [registry];
  const gauge = (name: string, help: string): Gauge<(typeof labelNames)[number]> =>
    new Gauge({ name: `millrace_queue_${name}`, help, labelNames, registers });
  const gauges = entriesOf(gaugeHelp).map(([kind, help]) => [kind, gauge(kind, help)] as const);
  const counters = entriesOf(counterHelp).map(
    ([kind, help]) =>
      [kind, new Counter({ name: `millrace_queue_${kind}_total`, help, labelNames, registers })] as const,
  );
  const age = gauge('oldest_age_seconds', 'How long the oldest invocation that may run has waited.');
  const conservation = gauge(
    'conservation_drift',
    'accepted - (ready + blocked + delayed + leased + succeeded + dead + expired + cancelled); not 0 is a bug.',
  );
  const worker = openFaasMetrics(registers);

  return async () => {
    const lanes = await Promise.all(
      [...queues].map(async ([queue, plugin]) => ({
        queue,
        stats: await lanesOf(queue, plugin, catalog).catch(() => []),
      })),
    );
    for (const [, counter] of counters) counter.reset();
    worker.submitted.reset();
    worker.processed.reset();
    for (const { queue, stats } of lanes) {
      for (const lane of stats) {
        const labels = { queue, function_name: lane.lane };
        for (const [kind, metric] of gauges) metric.set(labels, lane[kind]);
        for (const [kind, counter] of counters) counter.inc(labels, lane.totals[kind]);
        age.set(labels, lane.oldestReadyAgeMs / 1000);
        conservation.set(labels, drift(lane));
        const { accepted, succeeded, dead, expired, cancelled } = lane.totals;
        const perFunction = { queue_name: queue, function_name: lane.lane };
        worker.pending.set(perFunction, lane.ready + lane.blocked + lane.delayed);
        worker.inFlight.set(perFunction, lane.leased);
        worker.submitted.inc({ queue_name: queue }, accepted);
        worker.processed.inc({ queue_name: queue }, succeeded + dead + expired + cancelled);
      }
    }
  };
}

/** The same under the names of OpenFaaS' queue worker, for dashboards that know those. */
function openFaasMetrics(registers: Registry[]) {
  const perFunction = { labelNames: ['queue_name', 'function_name'] as const, registers };
  const perQueue = { labelNames: ['queue_name'] as const, registers };
  return {
    pending: new Gauge({ ...perFunction, name: 'queue_worker_pending_messages', help: 'Invocations that wait.' }),
    inFlight: new Gauge({
      ...perFunction,
      name: 'queue_worker_function_invocation_inflight',
      help: 'Queued invocations that were handed out.',
    }),
    submitted: new Counter({
      ...perQueue,
      name: 'queue_worker_messages_submitted_total',
      help: 'Invocations accepted.',
    }),
    processed: new Counter({
      ...perQueue,
      name: 'queue_worker_messages_processed_total',
      help: 'Invocations that came to an end.',
    }),
  };
}

function entriesOf<Key extends string>(record: Readonly<Record<Key, string>>): readonly [Key, string][] {
  return Object.entries(record) as [Key, string][];
}
