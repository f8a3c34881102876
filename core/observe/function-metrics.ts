import { addTime, noTimes, plainHistogram, type Times } from './plain-histogram.ts';
import { Counter, Gauge, type Registry } from './prometheus.ts';
import type { Catalog } from '../functions/catalog.ts';
import { namespaceOf } from '../kit/names.ts';
import type { Meter } from './meter.ts';

/** Metrics of the functions themselves, read at each scrape, under the names that OpenFaaS dashboards know. */
export function functionMetrics(registry: Registry, catalog: Catalog): void {
  const registers = [registry];
  const gauge = (name: string, help: string, valueOf: (entry: Entry) => number | undefined): void => {
    new Gauge({
      name,
      help,
      labelNames: ['function_name'],
      registers,
      collect() {
        this.reset(); // One that has been removed has no replicas.
        for (const entry of catalog.list()) {
          const value = valueOf(entry);
          if (value !== undefined) this.set({ function_name: entry.name }, value);
        }
      },
    });
  };
  gauge('gateway_service_count', 'Replicas of each function.', ({ status }) => status.replicas);
  gauge('gateway_service_ready_count', 'Replicas that can take calls.', ({ status }) => status.availableReplicas);
  gauge('gateway_service_min', 'The least replicas of functions that are scaled.', ({ policy }) => policy.scale?.min);
  gauge('millrace_waiting_calls', 'Calls that wait for a slot of their function, or for a replica.', ({ slots }) => {
    return slots.waiting + slots.held;
  });
  new Gauge({
    name: 'gateway_service_target_load',
    help: 'What one replica is to bear, of functions that are scaled.',
    labelNames: ['function_name', 'scaling_type'],
    registers,
    collect() {
      this.reset();
      for (const { name, policy } of catalog.list()) {
        if (policy.scale) this.set({ function_name: name, scaling_type: policy.scale.type }, policy.scale.target);
      }
    },
  });
  new Counter({
    name: 'pod_cpu_usage_seconds_total',
    help: 'CPU that the replicas of a function have used, where its provider knows.',
    labelNames: ['function_name', 'namespace'],
    registers,
    collect() {
      this.reset();
      for (const { name, provider } of catalog.list()) {
        const ms = provider.cpuMs?.(name);
        if (ms !== undefined) this.inc({ function_name: name, namespace: namespaceOf(name) }, ms / 1000);
      }
    },
  });
}

function pathOf(name: string): string {
  return `/function/${name}`;
}

type Entry = ReturnType<Catalog['list']>[number];

/** Tells of a request that has been answered: its route, not its path, which may be anything. */
export type Requested = (method: string, route: string, status: number, seconds: number) => void;

/**
 * Metrics of `/system` and `/async-function`, and what the watchdog of each function would tell: attempts under the path
 * `/function/NAME`. Their seconds are in `gateway_functions_seconds` only: there may be thousands of functions.
 */
export function requestMetrics(registry: Registry, meter: Meter): Requested {
  // Of requests: by method, path and status.
  const answered = new Map<string, { readonly labels: RequestLabels; readonly times: Times; untold: number }>();
  new Counter({
    name: 'http_requests_total',
    help: 'Requests answered, and attempts of functions.',
    labelNames: ['method', 'path', 'status'],
    registers: [registry],
    collect() {
      meter.takeRequests((name, method, status, count) => this.inc({ method, path: pathOf(name), status }, count));
      for (const child of answered.values()) {
        this.inc(child.labels, child.untold);
        child.untold = 0;
      }
    },
  });
  new Gauge({
    name: 'http_requests_in_flight',
    help: 'Attempts of functions that run now.',
    labelNames: ['path'],
    registers: [registry],
    collect() {
      for (const [name, count] of meter.running()) this.set({ path: pathOf(name) }, count);
    },
  });
  registry.registerMetric(
    plainHistogram(
      'http_request_duration_seconds',
      'From the head of a request to the end of its answer.',
      requestBuckets,
      () => Array.from(answered.values(), ({ labels, times }) => [labels, times] as const),
    ),
  );
  return (method, path, status, took) => {
    const key = `${method} ${path} ${status}`;
    let child = answered.get(key);
    if (!child) {
      child = { labels: { method, path, status: String(status) }, times: noTimes(requestBuckets), untold: 0 };
      answered.set(key, child);
    }
    child.untold++;
    addTime(child.times, requestBuckets, took);
  };
}

/** Upper bounds in seconds. */
const requestBuckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30];

type RequestLabels = Readonly<Record<'method' | 'path' | 'status', string>>;
