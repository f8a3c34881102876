import { messageOf } from '../contracts/errors.ts';
import type { Verdict } from '../contracts/delivery.ts';
import { isStream, readAll } from '../kit/body.ts';
import { failed } from '../kit/outcome.ts';

/** What a message's several functions have come to: it is safe when all have it, and given again while one has not. */
export function joinedVerdict(verdicts: readonly Verdict[]): Verdict {
  const [first, ...others] = verdicts;
  if (!first) throw new Error('a message without a function was run');
  if (others.length === 0) return first;
  let latest: Extract<Verdict, { kind: 'retry' }> | undefined;
  for (const verdict of verdicts) {
    if (verdict.kind === 'retry' && (!latest || verdict.delayMs > latest.delayMs)) latest = verdict;
  }
  return latest ?? verdicts.find(({ kind }) => kind === 'accepted') ?? first;
}

/** The verdict with its whole answer: one that is still being streamed would be thrown away when it has been said. */
export async function wholeVerdict(verdict: Verdict): Promise<Verdict> {
  if (verdict.kind !== 'done' || !isStream(verdict.outcome.body)) return verdict;
  const { outcome } = verdict;
  try {
    const tooLarge = (): Error => new Error(`it is larger than ${maxAnswer} bytes`);
    return { ...verdict, outcome: { ...outcome, body: await readAll(verdict.outcome.body, maxAnswer, tooLarge) } };
  } catch (error) {
    const message = `the streamed answer failed: ${messageOf(error)}`;
    return { ...verdict, outcome: failed('crash', { code: 'function.bad-response', message }, outcome.durationMs) };
  }
}

/** Bytes: an answer to a batch says which of its items failed, and little else. */
const maxAnswer = 2 ** 20;
