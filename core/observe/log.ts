import pino, { type Logger } from 'pino';
import { PassThrough } from 'node:stream';

export interface LogOptions {
  /** `auto`: for people on a terminal, JSON elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
  readonly level: string;
  /** Values that never appear in a line, wherever they come from. More may be added while it is in use. */
  readonly secrets: ReadonlySet<string>;
}

/** The process's logger: JSON lines on standard output, one event a line, the message constant and the data in fields. */
export async function createLogger({ format, level, secrets }: LogOptions): Promise<Logger> {
  const pretty = format === 'pretty' || (format === 'auto' && process.stdout.isTTY);
  const sink = pretty ? await prettySink() : process.stdout;
  const destination = {
    write(line: string): void {
      let shown = line;
      for (const secret of secrets) {
        // Short values would blank out half of every line, and are no secrets.
        if (secret.length >= 4 && shown.includes(secret)) shown = shown.replaceAll(secret, '[redacted]');
      }
      sink.write(shown);
    },
  };
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

async function prettySink(): Promise<NodeJS.WritableStream> {
  // Loaded only for a terminal: JSON logging needs none of it.
  const { default: prettyFactory } = await import('pino-pretty');
  const lines = new PassThrough();
  lines.pipe(prettyFactory({ colorize: true, translateTime: 'HH:MM:ss.l', ignore: 'pid,hostname' }));
  return lines;
}
