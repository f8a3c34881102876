/** Whether a version is within a range as package.json has them: `1.2.3`, `^1.2.3`, `>=1.2.3`, or several with ` || ` between. */
export function isWithinRange(version: string, range: string): boolean {
  return range.split(' || ').some((one) => {
    const [, operator = '', least = ''] = /^(\^|>=)?(.*)$/.exec(one) ?? [];
    if (operator === '') return version === least;
    const isOfLine = operator === '>=' || version.split('.', 1)[0] === least.split('.', 1)[0];
    return isOfLine && compare(version, least) >= 0;
  });
}

/** Below zero when `one` is the older one. */
function compare(one: string, other: string): number {
  const [a = [], b = []] = [one, other].map((text) => text.split(/[.-]/, 3).map(Number));
  const differs = a.findIndex((number, index) => number !== b[index]);
  return differs === -1 ? 0 : (a[differs] ?? 0) - (b[differs] ?? 0);
}
