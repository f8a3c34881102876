import type { Command } from 'commander';
import { createInterface } from 'node:readline';
import { parseDuration } from '../config/units.ts';
import { CliError, type ClientOptions, gatewayCommand } from './client.ts';
import { exitCodes } from './exit-codes.ts';
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
    .description('what a function wrote lately')
    .argument('<function>')
    .option('-f, --follow', 'and what it writes from now on, until Ctrl-C')
    .option('--tail <lines>', 'so many of the last lines')
    .option('--since <duration>', 'lines of so long ago at most: 5m')
    .option('--call <id>', 'lines of one call');
  gatewayCommand(command, async (client, options: LogsOptions, name: string) => {
    const { follow = false, tail, since, call, json } = options;
    const ago = since === undefined ? undefined : parseDuration(since);
    if (since !== undefined && ago === undefined) {
      throw new CliError(exitCodes.usage, `--since: expected a duration such as "5m", got "${since}"`);
    }
    const from = ago === undefined ? undefined : new Date(Date.now() - ago).toISOString();
    const query = { name, follow: String(follow), tail, since: from, callId: call };
    const { body } = await client.ok('GET', '/system/logs', { query, patienceMs: 0 });
    for await (const line of createInterface({ input: body })) {
      if (line === '') continue; // A sign of life.
      if (json) console.log(line);
      else {
        const { timestamp, instance, text } = JSON.parse(line) as LineView;
        console.log(`${colours.dim(timestamp)} ${colours.dim(printable(instance))} ${printable(text, 10_000)}`);
      }
    }
  });
}
