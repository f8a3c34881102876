import pino, { type Logger } from 'pino';
import { prettyLine } from './pretty.ts';

export interface LogOptions {
  /** `auto`: for people on a terminal, JSON elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
  readonly level: string;
  /** Values that never appear in a line, wherever they come from. More may be added while it is in use. */
  readonly secrets: ReadonlySet<string>;
}

/** The process's logger: JSON lines on standard output, one event a line, the message constant and the data in fields. */
export function createLogger({ format, level, secrets }: LogOptions): Logger {
  const pretty = format === 'pretty' || (format === 'auto' && process.stdout.isTTY);
  const destination = {
    write(line: string): void {
      let shown = line;
      for (const secret of secrets) {
        // Short values would blank out half of every line, and are no secrets.
        if (secret.length >= 4 && shown.includes(secret)) shown = shown.replaceAll(secret, '[redacted]');
      }
      process.stdout.write(pretty ? prettyLine(shown) : shown);
    },
  };
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}
