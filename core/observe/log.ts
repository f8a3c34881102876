import pino, { type Logger } from 'pino';
import { formsOf } from '../config/redact.ts';
import { prettyLine } from './pretty.ts';

export interface LogOptions {
  /** `auto`: for people on a terminal, JSON elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
  readonly level: string;
  /** Values that never appear in a line, wherever they come from. More may be added while it is in use. */
  readonly secrets: ReadonlySet<string>;
  /** Adds to a line what is known of the invocation or call that it names. */
  readonly about?: (idOrCallId: string) => object | undefined;
}

/** The process's logger: JSON lines on standard output, one event a line, the message constant and the data in fields. */
export function createLogger({ format, level, secrets, about }: LogOptions): Logger {
  const pretty = format === 'pretty' || (format === 'auto' && process.stdout.isTTY);
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
      process.stdout.write(pretty ? prettyLine(shown) : shown);
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
