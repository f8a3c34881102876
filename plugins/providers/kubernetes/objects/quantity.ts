const factors: Readonly<Record<string, number>> = {
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The API server spells quantities its own way: `1024Mi` comes back as `1Gi`, `0.5` as `500m`. */
export function isSameQuantity(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  const [first, second] = [amountOf(one), amountOf(other)];
  // The server rounds up to thousandths.
  return first !== undefined && second !== undefined && Math.abs(first - second) < 1e-3;
}

function amountOf(quantity: unknown): number | undefined {
  const [, number, suffix = ''] = /^(\d+(?:\.\d+)?)([kMGTPE]i?|Ki|m)?$/.exec(String(quantity)) ?? [];
  const factor = factors[suffix];
  return number === undefined || factor === undefined ? undefined : Number(number) * factor;
}
