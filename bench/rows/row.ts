import type { Compared, Load } from '../measure.ts';
import { median, medianInterval } from '../measure.ts';

/** What the rows of one run have in common. */
export interface Bench {
  /** For files of servers, on the disk of the sources: a queue in memory would prove nothing. */
  readonly home: string;
  /** How long one block of a server by itself is, ms, and how many there are. */
  readonly blockMs: number;
  readonly blocks: number;
  /** How long one block of a comparison is, ms: short, since what else the machine does may double the CPU time of all for seconds. */
  readonly turnMs: number;
  /** How many pairs of those blocks there are. */
  readonly pairs: number;
}

export interface Figure {
  readonly what: string;
  readonly figure: string;
  readonly bar: string;
  /** Undefined where there is no bar to meet. */
  readonly met: boolean | undefined;
}

/** One row of the page, or a few that are measured together. */
export interface Row {
  /** As `--only` names it. */
  readonly name: string;
  readonly measure: (bench: Bench) => Promise<readonly Figure[]>;
}

/** What a peer needs is not here: its row says so instead of a figure. */
export class NotMeasured extends Error {}

/** The ratio of a comparison with its interval. The bar is met where the worse end of that meets it. */
export function compared(
  what: string,
  { ratios, ours, peer }: Compared,
  bar: string,
  most: number | undefined,
): Figure {
  const [low, high] = medianInterval(ratios);
  const ratio = `${median(ratios).toFixed(2)} × (${low.toFixed(2)}–${high.toFixed(2)}, ${ratios.length} pairs)`;
  const cpu = ({ cpuPerThousand }: Load): string => cpuPerThousand.toFixed(0);
  const p50 = ({ p50Ms }: Load): string => p50Ms.toFixed(2);
  const figure = `${ratio}: ${cpu(ours)} against ${cpu(peer)} CPU-ms per 1,000; p50 ${p50(ours)} against ${p50(peer)} ms`;
  return { what, figure, bar, met: most === undefined ? undefined : high <= most };
}
