// @ts-check

/** @param {number} count */
export function counted(count) {
  return count.toLocaleString('en');
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds === 0) return '0 s';
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** @param {number} perSecond */
export function rate(perSecond) {
  return perSecond === 0 ? '0' : `${Number(perSecond.toPrecision(perSecond < 1 ? 2 : 3))}`;
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 1_048_576 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

/**
 * In the time zone of whoever looks.
 *
 * @param {string} iso
 */
export function moment(iso) {
  const element = document.createElement('time');
  element.dateTime = iso;
  const date = new Date(iso);
  const pad = (/** @type {number} */ number, length = 2) => String(number).padStart(length, '0');
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  element.textContent = `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
  return element;
}

/** How a state is coloured; the word is always there as well. */
const tones = /** @type {Readonly<Record<string, string>>} */ ({
  ready: 'good',
  running: 'good',
  connected: 'good',
  succeeded: 'good',
  failed: 'bad',
  dead: 'bad',
  expired: 'bad',
  error: 'bad',
  reconnecting: 'warn',
  cancelled: 'warn',
  delayed: 'warn',
  paused: 'warn',
  warning: 'warn',
  cold: 'quiet',
});

/** @param {string} state */
export function toneOf(state) {
  return tones[state] ?? '';
}
