/** How the gateway was at one moment, with nothing under way. */
export interface Sample {
  /** Since the beginning. */
  readonly atMs: number;
  readonly rssMiB: number;
  /** After a garbage collection. */
  readonly heapMiB: number;
  /** What V8 holds for that heap, and what lies outside of it: where resident memory moves and this does not, it is of another thread. */
  readonly committedMiB: number;
  readonly externalMiB: number;
  readonly descriptors: number;
  readonly threads: number;
  readonly timers: number;
  /** Of the synchronous calls since the sample before. */
  readonly p99Ms: number;
  /** Of one core, since the sample before. */
  readonly cpu: number;
  readonly calls: number;
}

export interface Verdict {
  /** What grew. Empty: all is flat. */
  readonly grew: readonly string[];
  /** Of what is counted, before and after. */
  readonly counts: string;
  /** All of it in one line. */
  readonly line: string;
}

/** So much more of them than before is no leak: a connection that has just ended, a thread that is being replaced. */
const allowed = { descriptors: 5, threads: 2, timers: 5 } as const;
/** Of the resident memory: 48 MiB a day, beside what garbage of V8 is more when a busy machine lets more calls through (11 MiB were seen). */
const mostMiBPerHour = 2;
const garbageMiB = 16;
const mostDrift = 1.2;
/** Warmed up after this: caches of SQLite, compiled code, the heaps of the nine threads (measured: flat after eight minutes). */
const warmMs = 10 * 60_000;
/** In less than this nothing can be said of memory, and a p99 is that of too few calls. */
const leastMs = 20 * 60_000;
/**
 * Garbage of V8 comes and goes by 10 MiB in minutes, so that samples beside each other are not independent (their
 * correlation is 0.7): a line through all of them is thought surer than it is, one through the means of so many parts is not.
 */
const parts = 10;

/**
 * Judges what came after the warming up: counts in any time, p99 and memory of long runs only, as the line says. Memory by
 * its slope over the later half: it grew if that is more than it may be by two standard errors. The longer, the less it may.
 */
export function verdictOf(all: readonly Sample[]): Verdict {
  const lastMs = all.at(-1)?.atMs ?? 0;
  const isLong = lastMs >= leastMs;
  const samples = all.filter(({ atMs }) => atMs >= (isLong ? warmMs : lastMs / 3));
  const third = Math.ceil(samples.length / 3);
  const between = (of: (sample: Sample) => number): readonly [number, number] => [
    median(samples.slice(0, third).map(of)),
    median(samples.slice(-third).map(of)),
  ];
  const grew: string[] = [];
  const told: string[] = [];
  for (const [name, more] of Object.entries(allowed) as [keyof typeof allowed, number][]) {
    const [before, after] = between((sample) => sample[name]);
    told.push(`${name} ${before} → ${after}`);
    if (after > before + more) grew.push(`${name} grew from ${before} to ${after}`);
  }
  const counts = told.join(', ');
  const later = all.filter(({ atMs }) => atMs >= lastMs / 2);
  const growth = (of: (sample: Sample) => number): { slope: number; error: number } =>
    slopeOf(meansOf(later.map((sample) => [sample.atMs / 3_600_000, of(sample)])));
  const rss = growth(({ rssMiB }) => rssMiB);
  const heap = growth(({ heapMiB }) => heapMiB);
  const rates = [rss, heap].map(({ slope, error }) => `${slope.toFixed(1)} ± ${error.toFixed(1)} MiB/h`);
  told.push(`RSS ${rates[0]} and heap ${rates[1]} in the later half`);
  const [p99Before, p99After] = between(({ p99Ms }) => p99Ms);
  told.push(`p99 ${p99Before.toFixed(1)} → ${p99After.toFixed(1)} ms`);
  if (isLong) {
    const most = mostMiBPerHour + garbageMiB / (lastMs / 2 / 3_600_000);
    if (rss.slope - 2 * rss.error > most) grew.push(`RSS grows by ${rss.slope.toFixed(1)} MiB/h`);
    if (p99After > mostDrift * p99Before) grew.push(`the p99 went from ${p99Before} to ${p99After} ms`);
  }
  const cpu = median(samples.map((sample) => sample.cpu));
  const calls = all.reduce((sum, sample) => sum + sample.calls, 0);
  const head = `${(lastMs / 60_000).toFixed(1)} min, ${calls.toLocaleString('en')} calls at ${Math.round(100 * cpu)} % CPU`;
  const flat = isLong ? 'flat' : 'descriptors, threads and timers are flat; too short to judge memory and p99';
  return { grew, counts, line: `${head}: ${told.join(', ')}: ${grew.length === 0 ? flat : grew.join('; ')}` };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

type Point = readonly [x: number, y: number];

/** The middle of each part, of as many as there are points for. */
function meansOf(points: readonly Point[]): Point[] {
  const count = Math.min(parts, points.length);
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  return Array.from({ length: count }, (_, part) => {
    const own = points.filter((_, index) => Math.floor((index * count) / points.length) === part);
    return [mean(own.map(([x]) => x)), mean(own.map(([, y]) => y))];
  });
}

/** The line of least squares through the points, and the standard error of its slope. */
export function slopeOf(points: readonly Point[]): { slope: number; error: number } {
  const count = points.length;
  if (count < 3) return { slope: 0, error: 0 };
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / count;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / count;
  const spread = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const slope = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spread;
  const rest = points.reduce((sum, [x, y]) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0);
  return { slope, error: Math.sqrt(rest / (count - 2) / spread) };
}
