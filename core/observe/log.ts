import pino, { type Logger } from 'pino';
import { formsOf } from '../config/redact.ts';
import { prettyLine, shortLine } from './pretty.ts';

export interface LogOptions {
  /** `auto`: `pretty` on a terminal, JSON elsewhere. `short`: a line for people. */
  readonly format: 'auto' | 'json' | 'pretty' | 'short';
  readonly level: string;
  /** Values that never appear in a line, wherever they come from. More may be added while it is in use. */
  readonly secrets: ReadonlySet<string>;
  /** Adds to a line what is known of the invocation or call that it names. */
  readonly about?: (idOrCallId: string) => object | undefined;
  /** Where the lines go instead of standard output. */
  readonly write?: (text: string) => void;
}

const formats: Readonly<Record<'json' | 'pretty' | 'short', (line: string) => string>> = {
  json: (line) => line,
  pretty: (line) => prettyLine(line),
  short: (line) => shortLine(line, process.stdout.isTTY && !process.env['NO_COLOR']),
};

/** The process's logger: JSON lines on standard output, one event a line, the message constant and the data in fields. */
export function createLogger({ format, level, secrets, about, write = toStandardOutput }: LogOptions): Logger {
  const show = formats[format === 'auto' ? (process.stdout.isTTY ? 'pretty' : 'json') : format];
  let hidden: readonly string[] = [];
  let known = -1;
  const destination = {
    write(line: string): void {
      if (known !== secrets.size) {
        known = secrets.size;
        // The longest first: one that begins with another one would leave its end to be read.
        hidden = [...secrets].flatMap(formsOf).sort((a, b) => b.length - a.length);
      }
      let shown = line;
      for (const form of hidden) if (shown.includes(form)) shown = shown.replaceAll(form, '[redacted]');
      write(show(shown));
    },
  };
  const mixin = about && {
    formatters: {
      log: (fields: Record<string, unknown>) => {
        const id = fields['id'] ?? fields['callId'];
        return typeof id === 'string' ? { ...fields, ...about(id) } : fields;
      },
    },
  };
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, ...mixin }, destination);
}

/** Node writes its warnings to stderr, as text between the lines of the log, unless it is told to keep them to itself. */
export function logWarnings(logger: Logger): void {
  if (process.listenerCount('warning') === 0) return;
  process.removeAllListeners('warning');
  process.on('warning', (warning) => logger.warn({ err: warning }, 'a warning of Node.js'));
}

function toStandardOutput(text: string): void {
  process.stdout.write(text);
}
