import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Upper bounds in seconds: a no-op on the main thread to a report that takes minutes. */
const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

type CounterChild = Counter.Internal;
type HistogramChild = Histogram.Internal<string>;

interface FunctionMeters {
  readonly started: CounterChild;
  readonly byCode: Map<number, { readonly count: CounterChild; readonly seconds: HistogramChild }>;
  inflight: number;
  ended: number;
}

/**
 * What the pipeline counts, under the names that OpenFaaS dashboards know and Millrace's own. Children are bound once
 * for each function and code: finding a label combination anew for every call would cost more than counting.
 */
export class Meter {
  readonly #functions = new Map<string, FunctionMeters>();
  readonly #started: Counter<'function_name'>;
  readonly #total: Counter<'function_name' | 'code'>;
  readonly #seconds: Histogram<'function_name' | 'code'>;
  readonly #waited: Histogram<'function_name'>;
  readonly #queued: Histogram<'function_name'>;
  readonly #retries: Counter<'function_name'>;
  readonly #dead: Counter<'function_name' | 'reason'>;
  readonly #refused: Counter<'function_name' | 'by'>;
  readonly #stale: Counter<'queue'>;
  readonly #settleErrors: Counter<'source'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#started = new Counter({
      name: 'gateway_function_invocation_started',
      help: 'Attempts that were begun.',
      labelNames: ['function_name'],
      registers,
    });
    this.#total = new Counter({
      name: 'gateway_function_invocation_total',
      help: 'Attempts that ended, by status code.',
      labelNames: ['function_name', 'code'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'gateway_functions_seconds',
      help: 'Time that attempts took in the provider.',
      labelNames: ['function_name', 'code'],
      buckets: secondsBuckets,
      registers,
    });
    this.#waited = new Histogram({
      name: 'millrace_slot_wait_seconds',
      help: 'Time that calls waited for a slot of their function, of those that waited.',
      labelNames: ['function_name'],
      buckets: secondsBuckets,
      registers,
    });
    this.#queued = new Histogram({
      name: 'millrace_queue_wait_seconds',
      help: 'Time from acceptance to the first attempt of queued invocations.',
      labelNames: ['function_name'],
      buckets: secondsBuckets,
      registers,
    });
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
    const functions = this.#functions;
    new Gauge({
      name: 'gateway_function_invocation_inflight',
      help: 'Attempts that run now.',
      labelNames: ['function_name'],
      registers,
      collect() {
        for (const [name, meters] of functions) this.set({ function_name: name }, meters.inflight);
      },
    });
  }

  started(name: string): void {
    const meters = this.#of(name);
    meters.started.inc();
    meters.inflight++;
  }

  ended(name: string, status: number, durationMs: number): void {
    const meters = this.#of(name);
    meters.inflight--;
    meters.ended++;
    let child = meters.byCode.get(status);
    if (!child) {
      const code = String(status);
      child = { count: this.#total.labels(name, code), seconds: this.#seconds.labels(name, code) };
      meters.byCode.set(status, child);
    }
    child.count.inc();
    child.seconds.observe(durationMs / 1000);
  }

  /** Attempts that ended since the start. */
  invocationCount(name: string): number {
    return this.#functions.get(name)?.ended ?? 0;
  }

  waited(name: string, ms: number): void {
    this.#waited.labels(name).observe(ms / 1000);
  }

  queued(name: string, ms: number): void {
    this.#queued.labels(name).observe(Math.max(0, ms) / 1000);
  }

  retried(name: string): void {
    this.#retries.labels(name).inc();
  }

  dead(name: string, reason: string): void {
    this.#dead.labels(name, reason).inc();
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
      meters = { started: this.#started.labels(name), byCode: new Map(), inflight: 0, ended: 0 };
      this.#functions.set(name, meters);
    }
    return meters;
  }
}
