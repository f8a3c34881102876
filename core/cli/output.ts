import { stripVTControlCharacters } from 'node:util';
import Table from 'cli-table3';
import pico from 'picocolors';

/** Colours that follow NO_COLOR, FORCE_COLOR and whether a person reads along. */
export const colours = pico.createColors(
  !process.env['NO_COLOR'] && (Boolean(process.env['FORCE_COLOR']) || process.stdout.isTTY),
);

/** For scripts: nothing else goes to standard output then. */
export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, undefined, 2));
}

/** A table for people. Cells are data of strangers: control characters would write over the terminal. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const made = new Table({
    head: head.map((title) => colours.bold(title)),
    style: { head: [], border: [], compact: true },
    chars: plainBorders,
  });
  made.push(...rows.map((row) => [...row]));
  return made.toString();
}

const plainBorders = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: ' ',
};

/** Text of a stranger's, fit for a terminal and one line. */
export function printable(text: string, most = 120): string {
  // oxlint-disable-next-line no-control-regex -- taking them out is the purpose.
  const line = stripVTControlCharacters(text).replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

/** `90` → `1m30s`: enough to judge an age by. */
export function age(seconds: number): string {
  if (seconds < 1) return seconds > 0 ? '<1s' : '-';
  const whole = Math.floor(seconds);
  const [days, hours, minutes] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
  ];
  if (days > 0) return `${days}d${hours}h`;
  if (hours > 0) return `${hours}h${minutes}m`;
  return minutes > 0 ? `${minutes}m${whole % 60}s` : `${whole}s`;
}

/** A count, dimmed where there is nothing to see. */
export function count(value: number, alarming = false): string {
  if (value === 0) return colours.dim('0');
  return alarming ? colours.red(String(value)) : String(value);
}
