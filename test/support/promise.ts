import { randomBytes } from 'node:crypto';

/** What a test of a promise tells the table in the README. */
export interface Seen {
  /** Where its choices come from, if they are drawn. */
  readonly seed?: number;
  /** Figures in a few words, as `1,204 accepted, 15 cuts, 0 lost`. */
  readonly result: string;
}

/**
 * Tells the table of promises (`npm run promises`) what this test saw. The promise is named in the test's title, as `(P12)`
 * of the founders' `reliability.md`, §4.
 */
export function saw(task: { readonly meta: object }, seen: Seen): void {
  Object.assign(task.meta, { promise: seen });
}

/** Whether the large counts are asked for: `npm run chaos -- --long`. */
export const isLong = process.env['MILLRACE_CHAOS_LONG'] === '1';

/** How often: few times in CI, many when the large counts are asked for. */
export function times(few: number, many: number): number {
  return isLong ? many : few;
}

/**
 * What the choices of a test are drawn from. In CI the same each time, so that a change is judged by what it changes; new ones
 * are looked for where the large counts run, or with `MILLRACE_SEED=random`. A number repeats a run.
 */
export const seed = seedOf(process.env['MILLRACE_SEED'] ?? (isLong ? 'random' : '20261129'));

function seedOf(text: string): number {
  return text === 'random' ? randomBytes(4).readUInt32LE() : Number(text);
}
