import { type AttemptCounts, countsSince, grown, quantileSeconds } from './attempt-counts.ts';
import type { ConnectorRow } from './connectors.ts';
import type { FunctionView } from './functions.ts';
import type { QueueRow } from './queues.ts';

/** What a gateway said at one time. */
export interface Sample {
  /** Monotonic, ms. */
  readonly at: number;
  readonly functions: readonly FunctionView[];
  readonly queues: readonly QueueRow[];
  readonly connectors: readonly ConnectorRow[];
  /** By function; undefined where the metrics cannot be had. */
  readonly attempts: ReadonlyMap<string, AttemptCounts> | undefined;
}

/** A function between two samples. Null: the metrics cannot be had, or nothing has ended. */
export interface FunctionRow {
  readonly name: string;
  readonly state: string;
  /** Attempts that ended, a second. */
  readonly perSecond: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** Attempts that ended with a status from 500 on, a second. */
  readonly errorsPerSecond: number | null;
  readonly replicas: number;
  readonly availableReplicas: number;
  readonly inFlight: number;
  readonly queued: number;
}

export interface SourceRow {
  readonly name: string;
  readonly kind: string;
  readonly state: string;
  readonly lag: number | null;
  /** Messages that were settled, a second. */
  readonly perSecond: number;
  readonly inFlight: number;
}

export interface TopView {
  /** What the rates are over. */
  readonly seconds: number;
  readonly functions: readonly FunctionRow[];
  readonly connectors: readonly SourceRow[];
}

/** By the word of `--sort`: its key on the keyboard, and what comes first. */
export const sortings = {
  name: { key: 'n', of: ({ name }: FunctionRow): string => name },
  rate: { key: 'r', of: ({ perSecond }: FunctionRow): number => -perSecond },
  latency: { key: 'l', of: ({ p99Ms }: FunctionRow): number => -(p99Ms ?? -1) },
  errors: { key: 'e', of: ({ errorsPerSecond }: FunctionRow): number => -(errorsPerSecond ?? -1) },
  'in-flight': { key: 'f', of: ({ inFlight }: FunctionRow): number => -inFlight },
  queued: { key: 'w', of: ({ queued }: FunctionRow): number => -queued },
} as const;

export type Sorting = keyof typeof sortings;

/** What happened between two samples. */
export function viewOf(before: Sample, now: Sample, sorting: Sorting): TopView {
  const seconds = Math.max(1, now.at - before.at) / 1000;
  const settledBefore = new Map(before.connectors.map(({ name, settled }) => [name, settled]));
  const { of } = sortings[sorting];
  return {
    seconds,
    functions: functionRows(before, now, seconds).toSorted((one, other) => order(of(one), of(other))),
    connectors: now.connectors.map(({ name, kind, state, lag, settled, inFlight }) => {
      const perSecond = grown(settledBefore.get(name), settled) / seconds;
      return { name, kind, state, lag: lag ?? null, perSecond, inFlight };
    }),
  };
}

function functionRows(before: Sample, now: Sample, seconds: number): FunctionRow[] {
  const countBefore = new Map(before.functions.map((view) => [fullName(view), view.invocationCount]));
  const lanes = Map.groupBy(now.queues, ({ name }) => name);
  return now.functions.map((view) => {
    const name = fullName(view);
    const { state, replicas, availableReplicas, invocationCount } = view;
    const own = lanes.get(name) ?? [];
    return {
      name,
      state,
      perSecond: grown(countBefore.get(name), invocationCount) / seconds,
      ...timesOf(name, before, now, seconds),
      replicas,
      availableReplicas,
      // What runs has a slot, wherever it came from; leases of a queue have one as well.
      inFlight: sum(own.filter(({ level }) => level === 'gateway').map(({ leased }) => leased)),
      queued: sum(own.map(({ ready, blocked, delayed }) => ready + blocked + delayed)),
    };
  });
}

function timesOf(
  name: string,
  before: Sample,
  now: Sample,
  seconds: number,
): Pick<FunctionRow, 'p50Ms' | 'p99Ms' | 'errorsPerSecond'> {
  if (!before.attempts || !now.attempts) return { p50Ms: null, p99Ms: null, errorsPerSecond: null };
  const counts = now.attempts.get(name);
  if (!counts) return { p50Ms: null, p99Ms: null, errorsPerSecond: 0 }; // It has never been called.
  const { codes, buckets } = countsSince(before.attempts.get(name), counts);
  const [p50, p99] = [quantileSeconds(buckets, 0.5), quantileSeconds(buckets, 0.99)];
  const failed = [...codes].filter(([code]) => Number(code) >= 500).map(([, count]) => count);
  return {
    p50Ms: p50 === null ? null : 1000 * p50,
    p99Ms: p99 === null ? null : 1000 * p99,
    errorsPerSecond: sum(failed) / seconds,
  };
}

function fullName({ name, namespace }: FunctionView): string {
  return `${name}.${namespace}`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function order(one: string | number, other: string | number): number {
  return one < other ? -1 : Number(one > other);
}
