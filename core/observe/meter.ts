import { addTime, noTimes, plainHistogram, type Times } from './plain-histogram.ts';
import { Counter, Gauge, Histogram, type Registry } from './prometheus.ts';

/** Upper bounds in seconds: a no-op on the main thread to a report that takes minutes. */
export const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Attempts of one function that ended with one status. */
interface CodeMeters extends Times {
  readonly code: string;
  /** By method: how many `takeRequests` has not told yet. */
  readonly untold: Record<string, number>;
}

/** What came of the attempts of one function since the start. */
export interface Attempts {
  readonly running: number;
  readonly ended: number;
  /** Of these: with a status from 400. */
  readonly failed: number;
  /** That they took, all together. */
  readonly seconds: number;
  /** How many by `secondsBuckets`, each alone; the last one is for what is longer than any bound. */
  readonly buckets: readonly number[];
}

/** What the attempts of one function came to since it was told last, in another process of the gateway. */
export interface MeterNews {
  readonly name: string;
  readonly started: number;
  readonly byStatus: readonly {
    readonly status: number;
    readonly buckets: readonly number[];
    readonly seconds: number;
    readonly byMethod: Readonly<Record<string, number>>;
  }[];
}

interface FunctionMeters {
  readonly byStatus: Map<number, CodeMeters>;
  started: number;
  inflight: number;
  ended: number;
}

/**
 * What the pipeline counts, under the names that OpenFaaS dashboards know and Millrace's own. What every call touches
 * is counted in plain numbers and shown to prom-client when it is scraped: its own counters look their labels up anew
 * each time, which costs more than a stage.
 */
export class Meter {
  readonly #functions = new Map<string, FunctionMeters>();
  readonly #waited: Histogram<'function_name'>;
  readonly #queued = new Map<string, Times>();
  readonly #retries: Counter<'function_name'>;
  readonly #dead: Counter<'function_name' | 'reason'>;
  readonly #followed: Counter<'function_name'>;
  readonly #refused: Counter<'function_name' | 'by'>;
  readonly #stale: Counter<'queue'>;
  readonly #settleErrors: Counter<'source'>;

  constructor(registry: Registry) {
    const registers = [registry];
    const functions = this.#functions;
    new Counter({
      name: 'gateway_function_invocation_started',
      help: 'Attempts that were begun.',
      labelNames: ['function_name'],
      registers,
      collect() {
        this.reset();
        for (const [name, { started }] of functions) this.inc({ function_name: name }, started);
      },
    });
    new Counter({
      name: 'gateway_function_invocation_total',
      help: 'Attempts that ended, by status code.',
      labelNames: ['function_name', 'code'],
      registers,
      collect() {
        this.reset();
        for (const [name, { byStatus }] of functions) {
          for (const { code, count } of byStatus.values()) this.inc({ function_name: name, code }, count);
        }
      },
    });
    registry.registerMetric(
      plainHistogram('gateway_functions_seconds', 'Time that attempts took in the provider.', secondsBuckets, () =>
        [...functions].flatMap(([function_name, { byStatus }]) =>
          Array.from(byStatus.values(), (times) => [{ function_name, code: times.code }, times] as const),
        ),
      ),
    );
    this.#waited = new Histogram({
      name: 'millrace_slot_wait_seconds',
      help: 'Time that calls waited for a slot of their function, of those that waited.',
      labelNames: ['function_name'],
      buckets: secondsBuckets,
      registers,
    });
    registry.registerMetric(
      plainHistogram(
        'millrace_queue_wait_seconds',
        'Time from acceptance to the first attempt of queued invocations.',
        secondsBuckets,
        () => Array.from(this.#queued, ([function_name, times]) => [{ function_name }, times] as const),
      ),
    );
    this.#retries = new Counter({
      name: 'millrace_retries_total',
      help: 'Failed attempts that another one follows.',
      labelNames: ['function_name'],
      registers,
    });
    this.#dead = new Counter({
      name: 'millrace_dead_letters_total',
      help: 'Invocations that ended as dead letters, by reason.',
      labelNames: ['function_name', 'reason'],
      registers,
    });
    this.#followed = new Counter({
      name: 'millrace_followed_total',
      help: 'Callbacks, replies, and invocations by onSuccess and onFailure that followed from the ends of a function.',
      labelNames: ['function_name'],
      registers,
    });
    this.#refused = new Counter({
      name: 'millrace_refused_total',
      help: 'Calls refused because a limit was reached.',
      labelNames: ['function_name', 'by'],
      registers,
    });
    this.#stale = new Counter({
      name: 'millrace_stale_settles_total',
      help: 'Settlements that came after their lease was lost; they changed nothing.',
      labelNames: ['queue'],
      registers,
    });
    this.#settleErrors = new Counter({
      name: 'millrace_settle_errors_total',
      help: 'Settlements that the source could not take; the delivery comes again.',
      labelNames: ['source'],
      registers,
    });
    new Gauge({
      name: 'gateway_function_invocation_inflight',
      help: 'Attempts that run now.',
      labelNames: ['function_name'],
      registers,
      collect() {
        for (const [name, { inflight }] of functions) this.set({ function_name: name }, inflight);
      },
    });
  }

  started(name: string): void {
    const meters = this.#of(name);
    meters.started++;
    meters.inflight++;
  }

  ended(name: string, method: string, status: number, durationMs: number): void {
    const meters = this.#of(name);
    meters.inflight--;
    meters.ended++;
    const child = codeOf(meters, status);
    addTime(child, secondsBuckets, durationMs / 1000);
    child.untold[method] = (child.untold[method] ?? 0) + 1;
  }

  /** What has been counted since this was asked last, for another process to `add`: nothing of it is told here any more. */
  takeNews(): MeterNews[] {
    const news = [...this.#functions].map(([name, { started, byStatus }]) => ({
      name,
      started,
      byStatus: [...byStatus].map(([status, { buckets, seconds, untold }]) => ({
        status,
        buckets,
        seconds,
        byMethod: untold,
      })),
    }));
    this.#functions.clear();
    return news;
  }

  /** What another process has counted. */
  add({ name, started, byStatus }: MeterNews): void {
    const meters = this.#of(name);
    meters.started += started;
    meters.inflight += started;
    for (const { status, buckets, seconds, byMethod } of byStatus) {
      const child = codeOf(meters, status);
      for (const [index, count] of buckets.entries()) {
        child.buckets[index] = (child.buckets[index] ?? 0) + count;
        child.count += count;
        meters.ended += count;
        meters.inflight -= count;
      }
      child.seconds += seconds;
      for (const [method, count] of Object.entries(byMethod))
        child.untold[method] = (child.untold[method] ?? 0) + count;
    }
  }

  /** So many attempts broke off with the process that ran them: they run no more, and nothing came of them. */
  lost(name: string, count: number): void {
    this.#of(name).inflight -= count;
  }

  /** Attempts that ended since this was asked last. */
  takeRequests(tell: (name: string, method: string, code: string, count: number) => void): void {
    for (const [name, { byStatus }] of this.#functions) {
      for (const { code, untold } of byStatus.values()) {
        for (const [method, count] of Object.entries(untold)) {
          if (count > 0) tell(name, method, code, count);
          untold[method] = 0;
        }
      }
    }
  }

  /** Attempts that run now, by function. */
  *running(): Iterable<readonly [string, number]> {
    for (const [name, { inflight }] of this.#functions) yield [name, inflight];
  }

  /** Attempts that ended since the start. */
  invocationCount(name: string): number {
    return this.#functions.get(name)?.ended ?? 0;
  }

  /** Undefined of a function that has had none. */
  attempts(name: string): Attempts | undefined {
    const meters = this.#functions.get(name);
    if (!meters) return undefined;
    const buckets = secondsBuckets.map(() => 0).concat(0);
    let failed = 0;
    let seconds = 0;
    for (const [status, child] of meters.byStatus) {
      if (status >= 400) failed += child.count;
      seconds += child.seconds;
      for (const [index, count] of child.buckets.entries()) buckets[index] = (buckets[index] ?? 0) + count;
    }
    return { running: meters.inflight, ended: meters.ended, failed, seconds, buckets };
  }

  /** Attempts that were begun since the start. */
  startedCount(name: string): number {
    return this.#functions.get(name)?.started ?? 0;
  }

  waited(name: string, ms: number): void {
    this.#waited.labels(name).observe(ms / 1000);
  }

  queued(name: string, ms: number): void {
    let times = this.#queued.get(name);
    if (!times) this.#queued.set(name, (times = noTimes(secondsBuckets)));
    addTime(times, secondsBuckets, Math.max(0, ms) / 1000);
  }

  retried(name: string): void {
    this.#retries.labels(name).inc();
  }

  dead(name: string, reason: string): void {
    this.#dead.labels(name, reason).inc();
  }

  followed(name: string, count: number): void {
    this.#followed.labels(name).inc(count);
  }

  refused(name: string, by: 'waiting' | 'queue' | 'in-flight'): void {
    this.#refused.labels(name, by).inc();
  }

  stale(queue: string): void {
    this.#stale.labels(queue).inc();
  }

  settleFailed(source: string): void {
    this.#settleErrors.labels(source).inc();
  }

  #of(name: string): FunctionMeters {
    let meters = this.#functions.get(name);
    if (!meters) {
      meters = { byStatus: new Map(), started: 0, inflight: 0, ended: 0 };
      this.#functions.set(name, meters);
    }
    return meters;
  }
}

function codeOf({ byStatus }: FunctionMeters, status: number): CodeMeters {
  let child = byStatus.get(status);
  if (!child) {
    child = { code: String(status), untold: {}, ...noTimes(secondsBuckets) };
    byStatus.set(status, child);
  }
  return child;
}
