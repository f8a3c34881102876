import { createRequire } from 'node:module';
import type * as prometheus from 'prom-client';

const load = createRequire(import.meta.url);

// What is used of prom-client, file by file: its index also loads what we do not use (its metrics of the process with the API
// of OpenTelemetry, push gateway, cluster, summaries), 60 modules more and 40 ms of each start.
export const Counter = load('prom-client/lib/counter.js') as typeof prometheus.Counter;
export const Gauge = load('prom-client/lib/gauge.js') as typeof prometheus.Gauge;
export const Histogram = load('prom-client/lib/histogram.js') as typeof prometheus.Histogram;
export const Registry = load('prom-client/lib/registry.js') as typeof prometheus.Registry;

export type Counter<Label extends string = string> = prometheus.Counter<Label>;
export type Gauge<Label extends string = string> = prometheus.Gauge<Label>;
export type Histogram<Label extends string = string> = prometheus.Histogram<Label>;
export type Registry = prometheus.Registry;
