import type { Command } from 'commander';
import { dirname, resolve } from 'node:path';
import { loadConfig } from '../config/load.ts';
import { secretValues } from '../config/redact.ts';
import type { Config } from '../config/schema.ts';
import { type Probed, probe } from '../host/probe.ts';
import { createLogger } from '../observe/log.ts';
import { acting } from './command.ts';
import { type CliContext, standardConfig } from './context.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { colours, printable, printJson } from './output.ts';

interface CheckOptions {
  readonly json?: boolean;
  readonly connect?: boolean;
}

const exitCodeHelp = `
Exit codes:
  0  the configuration is right; with --connect: and so is what it connects to
  1  with --connect: a plugin failed
  2  the configuration is wrong; with --connect: or a broker refuses it
  3  with --connect: a broker cannot be reached
`;

export function registerCheck(program: Command, { registry, defaults }: CliContext): void {
  const command = program
    .command('check')
    .description('check a configuration; exit 2 and list every problem if there is one')
    .argument('[file]', 'the configuration', standardConfig)
    .option('--json', 'print JSON only')
    .option(
      '--connect',
      'dial each connection too, start and stop each queue and store that works over one, and compare what connectors need with what is there',
    )
    .addHelpText('after', exitCodeHelp);
  acting(command, async ({ json, connect }: CheckOptions, file: string) => {
    const { config, problems } = await loadConfig(file, registry, defaults);
    if (!json) for (const { text } of problems) console.error(text);
    if (!json && config)
      console.log(`${file}: ok, ${config.functions.size} functions, ${config.connectors.size} connectors`);
    const probed = connect && config ? await probeQuietly(config, file) : undefined;
    if (!json) for (const one of probed ?? []) console.log(lineOf(one));
    if (json) {
      printJson({ valid: config !== undefined, problems, ...(probed && { connected: probed }) });
    }
    return config ? exitCodeOf(probed ?? []) : exitCodes.usage;
  });
}

async function probeQuietly(config: Config, file: string): Promise<readonly Probed[]> {
  // What is wrong is told by the lines that are printed.
  const logger = createLogger({ format: 'json', level: 'silent', secrets: new Set(secretValues(config)) });
  return probe(config, logger, dirname(resolve(file)));
}

function lineOf({ type, name, kind, durability, missing = [], error }: Probed): string {
  const what = `${type} ${name} (${kind})`;
  if (error) return `${what}: ${colours.red('failed')}, ${error.code}: ${printable(error.message, 500)}`;
  const makes = missing.length === 0 ? '' : `, its start makes ${printable(missing.join('; '), 500)}`;
  return `${what}: ${colours.green('ok')}${durability === undefined ? '' : `, durability ${durability}`}${makes}`;
}

/** What must be mended before anything else: a refused setting, then a broker that is away, then anything. */
function exitCodeOf(probed: readonly Probed[]): ExitCode {
  const codes = new Set(probed.flatMap(({ error }) => error?.code ?? []));
  if (codes.has('config.invalid')) return exitCodes.usage;
  if (codes.has('connection.unavailable')) return exitCodes.unreachable;
  return codes.size > 0 ? exitCodes.failed : exitCodes.ok;
}
