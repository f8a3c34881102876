/** Attempts of one function that have ended, as the metrics of a gateway tell them. */
export interface AttemptCounts {
  /** By status. */
  readonly codes: Map<string, number>;
  /** Those that took so long at most, by the bound in seconds; `Infinity` has all of them. */
  readonly buckets: Map<number, number>;
}

const line = /^gateway_functions_seconds_(bucket|count)\{(.*)\} (\S+)/;
const label = /([a-z_]+)="((?:[^"\\]|\\.)*)"/g;

/** By function, from the text format of Prometheus. */
export function attemptCounts(text: string): Map<string, AttemptCounts> {
  const counts = new Map<string, AttemptCounts>();
  for (const each of text.split('\n')) {
    const [, kind, labels = '', value] = line.exec(each) ?? [];
    if (kind === undefined) continue;
    const {
      function_name: name = '',
      code = '',
      le = '',
    } = Object.fromEntries([...labels.matchAll(label)].map(([, key = '', word = '']) => [key, word]));
    const of = counts.get(name) ?? { codes: new Map(), buckets: new Map() };
    counts.set(name, of);
    if (kind === 'count') add(of.codes, code, Number(value));
    else add(of.buckets, le === '+Inf' ? Infinity : Number(le), Number(value));
  }
  return counts;
}

/** What has ended between two readings; a gateway that was started anew meanwhile counts from zero. */
export function countsSince(before: AttemptCounts | undefined, now: AttemptCounts): AttemptCounts {
  return { codes: since(before?.codes, now.codes), buckets: since(before?.buckets, now.buckets) };
}

/** How much a counter has grown. */
export function grown(before: number | undefined, now: number): number {
  return now >= (before ?? 0) ? now - (before ?? 0) : now;
}

/** As Prometheus has it (`histogram_quantile`): within a bucket all values lie evenly. Null where there are none. */
export function quantileSeconds(buckets: ReadonlyMap<number, number>, quantile: number): number | null {
  const rank = quantile * (buckets.get(Infinity) ?? 0);
  if (rank === 0) return null;
  let [lower, below] = [0, 0];
  for (const [bound, count] of [...buckets].toSorted(([one], [other]) => one - other)) {
    if (count >= rank) return bound === Infinity ? lower : lower + ((bound - lower) * (rank - below)) / (count - below);
    [lower, below] = [bound, count];
  }
  return null;
}

function since<Key>(before: ReadonlyMap<Key, number> | undefined, now: ReadonlyMap<Key, number>): Map<Key, number> {
  return new Map([...now].map(([key, count]) => [key, grown(before?.get(key), count)]));
}

function add<Key>(counts: Map<Key, number>, key: Key, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}
