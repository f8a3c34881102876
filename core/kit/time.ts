let lastMs = Number.NaN;
let lastText = '';
let lastSecond = Number.NaN;
let prefix = '';

/** A moment of the wall clock, ms, as `Date.toISOString` has it. Those who ask mostly ask for the same ms or second again. */
export function isoTime(ms: number): string {
  const whole = Math.trunc(ms);
  if (whole === lastMs) return lastText;
  const second = Math.floor(whole / 1000);
  if (second !== lastSecond) {
    prefix = new Date(second * 1000).toISOString().slice(0, -'000Z'.length);
    lastSecond = second;
  }
  lastText = `${prefix}${String(whole - second * 1000).padStart(3, '0')}Z`;
  lastMs = whole;
  return lastText;
}
