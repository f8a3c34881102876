import type { Histogram } from './prometheus.ts';

/** Of several times: how many by bucket, each alone, the last one for what is longer than any bound; and their sum. */
export interface Times {
  readonly buckets: number[];
  count: number;
  seconds: number;
}

export function noTimes(bounds: readonly number[]): Times {
  return { buckets: Array.from({ length: bounds.length + 1 }, () => 0), count: 0, seconds: 0 };
}

export function addTime(times: Times, bounds: readonly number[], seconds: number): void {
  let bucket = 0;
  while (bucket < bounds.length && seconds > (bounds[bucket] ?? Infinity)) bucket++;
  times.buckets[bucket] = (times.buckets[bucket] ?? 0) + 1;
  times.count++;
  times.seconds += seconds;
}

/**
 * A histogram that is counted in plain numbers, and made of them when somebody asks: prom-client looks up the labels and
 * the bucket of each time anew, which costs more than a stage of the pipeline. `bounds`: upper ones, in seconds.
 */
export function plainHistogram(
  name: string,
  help: string,
  bounds: readonly number[],
  labelled: () => Iterable<readonly [labels: Readonly<Record<string, string>>, times: Times]>,
): Histogram {
  const valuesOf = (labels: Readonly<Record<string, string>>, { buckets, count, seconds }: Times): object[] => {
    let below = 0;
    const cumulated = bounds.map((le, index) => {
      below += buckets[index] ?? 0;
      return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: below };
    });
    return [
      ...cumulated,
      { metricName: `${name}_bucket`, labels: { le: '+Inf', ...labels }, value: count },
      { metricName: `${name}_sum`, labels, value: seconds },
      { metricName: `${name}_count`, labels, value: count },
    ];
  };
  const metric = { name, help, type: 'histogram', aggregator: 'sum' };
  const get = async (): Promise<object> => ({
    ...metric,
    values: [...labelled()].flatMap(([labels, times]) => valuesOf(labels, times)),
  });
  // prom-client takes any object that can be asked for its values; its types know its own classes only.
  return { ...metric, get } as unknown as Histogram;
}
