import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MillraceError } from '../../core/contracts/errors.ts';
import { saw, seed, times } from '../support/promise.ts';

/** What reads something that others wrote, and what holds of it. */
export interface Fuzzed<Input, Parsed> {
  readonly name: string;
  /** Valid ones, ones that are nearly valid, and noise. */
  readonly inputs: fc.Arbitrary<Input>;
  readonly parse: (input: Input) => Parsed | Promise<Parsed>;
  /** Throws where it does not hold, of what was parsed: round trips, ranges. */
  readonly holds?: (parsed: Parsed, input: Input) => void;
  /** Errors that it may throw besides a MillraceError: who calls it takes them for "not readable". */
  readonly mayThrow?: (error: unknown) => boolean;
  /** The same with a bug, which must be found. */
  readonly planted: (input: Input) => Parsed | Promise<Parsed>;
  /** Where each input costs much. */
  readonly runs?: number;
}

/** Two tests: of so many inputs none makes it throw what it must not; and a bug in it would have been found. */
export function fuzz<Input, Parsed>(fuzzed: Fuzzed<Input, Parsed>): void {
  const { runs: numRuns = times(10_000, 200_000) } = fuzzed;
  describe(fuzzed.name, () => {
    it('gives a value or an error of its own, whatever comes (P18)', { timeout: 600_000 }, async ({ task }) => {
      await fc.assert(propertyOf(fuzzed, fuzzed.parse), { numRuns, seed });
      saw(task, { seed, result: `${numRuns.toLocaleString('en')} inputs, 0 that were not expected` });
    });
    it('is found out with a bug in it', { timeout: 600_000 }, async () => {
      const { failed } = await fc.check(propertyOf(fuzzed, fuzzed.planted), { numRuns, seed, endOnFailure: true });
      expect(failed).toBe(true);
    });
  });
}

function propertyOf<Input, Parsed>(
  { inputs, holds, mayThrow }: Fuzzed<Input, Parsed>,
  parse: Fuzzed<Input, Parsed>['parse'],
): fc.IAsyncProperty<[Input]> {
  return fc.asyncProperty(inputs, async (input) => {
    let parsed: Parsed;
    try {
      parsed = await parse(input);
    } catch (error) {
      if (error instanceof MillraceError || mayThrow?.(error)) return;
      throw error;
    }
    holds?.(parsed, input);
  });
}

/** The long text is so many times as long as the short one. */
const factor = 32;

/**
 * What reading costs grows with the length and not with its square: one long text takes about as much CPU as 32 that are a
 * 32nd of it, where a square would make it 32 times as much. The least of some tries is compared.
 */
export function growsLinearly(read: (text: string) => unknown, textOf: (length: number) => string): boolean {
  const [short, long] = [textOf(500), textOf(500 * factor)];
  const least = (text: string, count: number): number =>
    Math.min(...Array.from({ length: 3 }, () => costOf(() => read(text), count)));
  const cost = least(long, 1);
  // What is too quick for the system's clock is quick enough.
  return cost < 10 || cost < 8 * Math.max(least(short, factor), 1);
}

/** ms of CPU of this thread: what others do on the machine is not in it. */
function costOf(work: () => unknown, count: number): number {
  const before = process.threadCpuUsage();
  for (let done = 0; done < count; done++) {
    try {
      work();
    } catch {
      // How it ends is asked elsewhere.
    }
  }
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}
