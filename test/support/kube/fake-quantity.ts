/** As the API server's errors quote it. */
export const quantityPattern = '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$';

const binary = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const decimal = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const nano = 1_000_000_000n;

interface Parsed {
  /** In billionths. */
  readonly nanos: bigint;
  readonly suffix: string;
}

/** The same quantity as the API server writes it: `0.5Gi` → `512Mi`, `1.50` → `1500m`; undefined if it is none. */
export function canonicalQuantity(text: string): string | undefined {
  const parsed = parse(text);
  if (!parsed) return undefined;
  const { nanos, suffix } = parsed;
  if (nanos === 0n) return '0';
  const units = binary.includes(suffix) && suffix !== '' ? binary : decimal;
  for (const unit of units.toReversed()) {
    const size = sizeOf(unit);
    if (size !== undefined && nanos % size === 0n) return `${nanos / size}${unit}`;
  }
  return text;
}

/** -1, 0 or 1; both are quantities. */
export function compareQuantities(left: string, right: string): number {
  const [a, b] = [parse(left)?.nanos ?? 0n, parse(right)?.nanos ?? 0n];
  return a < b ? -1 : a > b ? 1 : 0;
}

function parse(text: string): Parsed | undefined {
  const found = /^([+-]?)(\d*)(?:\.(\d*))?([a-zA-Z]*)(?:([-+]?\d+))?$/.exec(text);
  if (!found) return undefined;
  const [, sign = '', whole = '', fraction = '', letters = '', exponent] = found;
  if (whole === '' && fraction === '') return undefined;
  const scaled = /^[eE]$/.test(letters) && exponent !== undefined;
  const size = scaled ? nano * 10n ** BigInt(exponent) : sizeOf(letters);
  if (size === undefined || (exponent !== undefined && !scaled)) return undefined;
  const digits = BigInt(`${whole}${fraction}` || '0') * size;
  const nanos = digits / 10n ** BigInt(fraction.length);
  return { nanos: sign === '-' ? -nanos : nanos, suffix: scaled ? '' : letters };
}

/** In billionths. */
function sizeOf(unit: string): bigint | undefined {
  const power = binary.indexOf(unit);
  if (power > 0) return nano * 1024n ** BigInt(power);
  const place = decimal.indexOf(unit);
  return place < 0 ? undefined : 10n ** BigInt(place * 3);
}
