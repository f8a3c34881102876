import type { Command } from 'commander';
import { type ClientOptions, gatewayCommand } from './client.ts';
import { CliError } from './command.ts';
import { exitCodes } from './exit-codes.ts';
import { durationOption } from './invocations.ts';
import { linesIn } from './line-reader.ts';
import { followedLines } from './log-follower.ts';
import { colours, printable } from './output.ts';

interface LogsOptions extends ClientOptions {
  readonly follow?: boolean;
  readonly tail?: string;
  readonly since?: string;
  readonly call?: string;
}

interface LineView {
  readonly instance: string;
  readonly timestamp: string;
  readonly text: string;
}

export function registerLogs(program: Command): void {
  const command = program
    .command('logs')
    .description('what a function wrote lately; with --json one document a line')
    .argument('<function>', 'NAME or NAME.NAMESPACE')
    .option('-f, --follow', 'and what it writes from now on, until Ctrl-C; also over restarts of the gateway')
    .option('--tail <lines>', 'so many of the last lines')
    .option('--since <duration>', 'lines of so long ago at most: 5m')
    .option('--call <id>', 'lines of one call');
  gatewayCommand(command, async (client, options: LogsOptions, name: string) => {
    const { follow = false, tail, since, call, json } = options;
    if (tail !== undefined && !/^[1-9]\d{0,8}$/.test(tail)) {
      throw new CliError(exitCodes.usage, `--tail: expected a whole number from 1 on, got ${JSON.stringify(tail)}`);
    }
    const ago = durationOption('--since', since);
    const from = ago === undefined ? undefined : new Date(Date.now() - ago).toISOString();
    const query = { name, follow: String(follow), tail, since: from, callId: call };
    const gap = (reason: string): void => {
      if (!json) console.error(colours.dim(`${printable(reason, 300)}; waiting for the gateway`));
    };
    const lines = follow
      ? followedLines(client, query, gap)
      : linesIn((await client.ok('GET', '/system/logs', { query })).body);
    for await (const line of lines) if (line !== '') console.log(json ? line : shown(JSON.parse(line) as LineView));
  });
}

function shown({ timestamp, instance, text }: LineView): string {
  return `${colours.dim(timestamp)} ${colours.dim(printable(instance))} ${printable(text, 10_000)}`;
}
