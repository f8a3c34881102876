import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

/** By the number that pino gives a level. */
const levels: Readonly<Record<number, readonly [string, Style]>> = {
  10: ['TRACE', 'gray'],
  20: ['DEBUG', 'blue'],
  30: ['INFO', 'green'],
  40: ['WARN', 'yellow'],
  50: ['ERROR', 'red'],
  60: ['FATAL', 'bgRed'],
};

/** A JSON line of the log as people read it: time (UTC), level and message, and below them each field. */
export function prettyLine(line: string, coloured = !process.env['NO_COLOR']): string {
  const entry = entryOf(line);
  if (!entry) return line;
  const paint = painter(coloured);
  const { level, time, msg, ...fields } = entry;
  const [word, style] = levels[Number(level)] ?? [`LEVEL ${String(level)}`, 'white'];
  const at = typeof time === 'string' ? `[${time.slice(11, 23)}] ` : '';
  const shown = Object.entries(fields).map(
    ([name, value]) => `    ${paint('magenta', printable(name))}: ${textOf(value)}\n`,
  );
  return `${at}${paint(style, word)}: ${paint('cyan', printable(typeof msg === 'string' ? msg : ''))}\n${shown.join('')}`;
}

/** The same in one line, for who develops a function and watches: fields follow the message; only a stack has lines of its own. */
export function shortLine(line: string, coloured = !process.env['NO_COLOR']): string {
  const entry = entryOf(line);
  if (!entry) return line;
  const paint = painter(coloured);
  const { level, time, msg, err, ...fields } = entry;
  const [word, style] = levels[Number(level)] ?? [`LEVEL ${String(level)}`, 'white'];
  const at = typeof time === 'string' ? paint('gray', time.slice(11, 23)) : '';
  const shown = Object.entries(fields).map(([name, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return paint('gray', ` ${printable(name)}=${printable(text).replaceAll('\n', ' ')}`);
  });
  const message = printable(typeof msg === 'string' ? msg : '');
  const error = err === undefined ? '' : `    ${textOf(err).trim()}\n`;
  return `${at} ${paint(style, word.padEnd(5))} ${message}${shown.join('')}\n${error}`;
}

function painter(coloured: boolean): (style: Style, text: string) => string {
  return (style, text) => (coloured ? styleText(style, text, { validateStream: false }) : text);
}

/** Undefined for what is no entry any more: a secret that was taken out may have been a piece of its syntax. */
function entryOf(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(line);
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : undefined;
  } catch {
    return undefined;
  }
}

/** The stack of an error line by line, as it is known; all else as JSON. */
function textOf(value: unknown): string {
  const { stack, ...rest } = typeof value === 'object' && value !== null ? (value as { stack?: unknown }) : {};
  if (typeof stack !== 'string') return indented(printable(JSON.stringify(value, undefined, 2)), 4);
  const others = Object.keys(rest).length === 0 ? '' : `\n    ${textOf(rest)}`;
  return `\n${' '.repeat(8)}${indented(printable(stack), 8)}${others}`;
}

function indented(text: string, by: number): string {
  return text.replaceAll('\n', `\n${' '.repeat(by)}`);
}

/** What strangers wrote must not write over the terminal. */
function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- taking them out is the purpose.
  return text.replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '�');
}
