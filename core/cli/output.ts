import { stripVTControlCharacters, styleText } from 'node:util';

/** Colours follow NO_COLOR, FORCE_COLOR and whether a person reads along. */
const coloured = !process.env['NO_COLOR'] && (Boolean(process.env['FORCE_COLOR']) || process.stdout.isTTY);

function inStyle(style: Parameters<typeof styleText>[0]): (text: string) => string {
  return (text) => (coloured ? styleText(style, text, { validateStream: false }) : text);
}

export const colours = {
  bold: inStyle('bold'),
  dim: inStyle('dim'),
  green: inStyle('green'),
  red: inStyle('red'),
  yellow: inStyle('yellow'),
};

/** For scripts: nothing else goes to standard output then. */
export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, undefined, 2));
}

/** A table for people. Cells are one line each, and may have colours. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const lines = [head.map((title) => colours.bold(title)), ...rows.map((row) => row.map(String))];
  const widths = head.map((_title, column) => Math.max(...lines.map((cells) => widthOf(cells[column] ?? ''))));
  const padded = (cell: string, column: number): string =>
    cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - widthOf(cell)));
  return lines.map((cells) => ` ${cells.map(padded).join('   ')}`.trimEnd()).join('\n');
}

const graphemes = new Intl.Segmenter();
/** What terminals draw two cells wide: emoji, and the scripts of East Asia (UAX #11). */
const wide =
  /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]/u;

/** Cells of a terminal. */
function widthOf(text: string): number {
  const plain = stripVTControlCharacters(text);
  if (/^[ -~]*$/.test(plain)) return plain.length;
  let width = 0;
  for (const { segment } of graphemes.segment(plain)) width += wide.test(segment) ? 2 : 1;
  return width;
}

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
