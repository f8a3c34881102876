import { median, medianInterval } from './measure.ts';

/** What is more than this times the baseline has regressed. */
export const limit = 1.15;
/** Fewer ratios than this tell nothing of how far they scatter. */
export const leastRounds = 5;

export interface Verdict {
  /** How many times its baseline a case costs now. */
  readonly times: number;
  /** Between what that lies with 95 %. */
  readonly least: number;
  readonly most: number;
  readonly rounds: number;
  /** `unclear`: the limit lies within the interval. */
  readonly state: 'kept' | 'regressed' | 'unclear';
}

/** What the ratios of one case, round by round, say next to what the ratio was. */
export function judge(ratios: readonly number[], baseline: number): Verdict {
  const times = ratios.map((ratio) => ratio / baseline);
  const [least, most] = medianInterval(times);
  const isKnown = times.length >= leastRounds;
  const state = isKnown && most <= limit ? 'kept' : isKnown && least > limit ? 'regressed' : 'unclear';
  return { times: median(times), least, most, rounds: times.length, state };
}
