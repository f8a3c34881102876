import type { Command } from 'commander';
import { exitCodes, type ExitCode } from './exit-codes.ts';

/** An end of a command that is not a bug: what to tell the user, and how the process ends. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;
  /** For scripts: what the message says in words. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(exitCode: ExitCode, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.exitCode = exitCode;
    this.details = details;
  }
}

/**
 * Gives a command what it does. A CliError becomes a message and an exit code; with `--json` the message is JSON, too. Each
 * `run` declares the options and words that its command has been given; commander knows no types.
 */
export function acting(
  command: Command,
  run: (options: never, ...words: never[]) => Promise<ExitCode | void> | ExitCode | void,
): Command {
  return command.action(async (...given: unknown[]) => {
    const options = optionsOf(command);
    try {
      process.exitCode = (await run(options as never, ...(given.slice(0, -2) as never[]))) ?? exitCodes.ok;
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      const { message, exitCode, details } = error;
      console.error(options['json'] === true ? errorJson(message, exitCode, details) : `millrace: ${message}`);
      process.exitCode = exitCode;
    }
  });
}

/** An error as scripts read it: one line of standard error. */
export function errorJson(
  message: string,
  exitCode: ExitCode,
  details: Readonly<Record<string, unknown>> = {},
): string {
  return JSON.stringify({ error: { message, exitCode, ...details } });
}

/**
 * The options of a command and of the groups above it. Commander gives `queues pause x --url U` to `queues`, which knows
 * the option too: what was typed counts, wherever it landed.
 */
function optionsOf(command: Command): Readonly<Record<string, unknown>> {
  const options: Record<string, unknown> = {};
  const typed = new Set<string>();
  for (let level: Command | null = command; level; level = level.parent) {
    for (const [name, value] of Object.entries(level.opts())) {
      const isTyped = level.getOptionValueSource(name) === 'cli';
      if (name in options && (!isTyped || typed.has(name))) continue;
      options[name] = value;
      if (isTyped) typed.add(name);
    }
  }
  return options;
}
