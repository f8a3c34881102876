import { closest, distance } from 'fastest-levenshtein';

/** `, did you mean "x"?` when one of the known names is near enough to be what was meant. */
export function didYouMean(name: string, known: readonly string[]): string {
  if (known.length === 0 || name.length > 190) return '';
  const nearest = closest(name, known);
  return distance(name, nearest) <= Math.max(2, name.length / 3) ? `, did you mean ${JSON.stringify(nearest)}?` : '';
}

/** A name out of a request, fit for a message: quoted, cut, on one line. */
export function shown(name: string): string {
  return JSON.stringify(name.slice(0, 80));
}
