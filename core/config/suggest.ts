import { closest, distance } from 'fastest-levenshtein';

/** `, did you mean "schedule"?`, or nothing when no candidate is near. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  if (candidates.length === 0) return '';
  const best = closest(word, candidates);
  const near = distance(word, best) <= Math.max(2, Math.floor(word.length / 3));
  // `environment` is meant for `env`, and far from it.
  const found = near ? best : candidates.find((candidate) => candidate.length >= 3 && word.startsWith(candidate));
  return found === undefined ? '' : `, did you mean "${found}"?`;
}
