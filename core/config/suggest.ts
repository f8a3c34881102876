/** `, did you mean "schedule"?`, or nothing when no candidate is near. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  let found: string | undefined;
  let limit = Math.max(2, Math.floor(word.length / 3));
  for (const candidate of candidates) {
    const edits = distance(word, candidate, limit);
    if (edits === undefined) continue;
    found = candidate;
    limit = edits - 1;
  }
  // `environment` is meant for `env`, and far from it.
  found ??= candidates.find((candidate) => candidate.length >= 3 && word.startsWith(candidate));
  return found === undefined ? '' : `, did you mean "${found}"?`;
}

/** How many letters must be put in, taken out or changed (Levenshtein); undefined when more than `limit`. */
function distance(from: string, to: string, limit: number): number | undefined {
  // Most candidates end here: the whole table would be slow where there are thousands of them.
  if (Math.abs(from.length - to.length) > limit) return undefined;
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let length = 1; length <= from.length; length++) {
    const next = [length];
    let left = length;
    row.reduce((diagonal, above, index) => {
      const changed = from[length - 1] === to[index - 1] ? diagonal : diagonal + 1;
      left = Math.min(changed, above + 1, left + 1);
      next.push(left);
      return above;
    });
    if (Math.min(...next) > limit) return undefined;
    row = next;
  }
  const edits = row.at(-1) ?? 0;
  return edits > limit ? undefined : edits;
}
