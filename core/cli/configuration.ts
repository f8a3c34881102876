import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { Environment } from '../config/tree.ts';
import { CliError } from './command.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';

interface Asked {
  readonly json?: boolean | undefined;
  readonly environment?: Environment;
}

/**
 * The configuration, for a command that can do nothing without. What is wrong with it is told, warnings too; with `json` as
 * the `problems` of the error.
 *
 * @throws CliError
 */
export async function configuration(
  file: string,
  { registry, defaults }: CliContext,
  { json, environment = process.env }: Asked = {},
): Promise<Config> {
  const { config, problems } = await loadConfig(file, registry, defaults, environment);
  if (!json) for (const { text } of problems) console.error(text);
  if (config) return config;
  const count = problems.filter(({ severity }) => severity === 'error').length;
  const what = count === 1 ? 'the problem' : `the ${count} problems`;
  throw new CliError(exitCodes.usage, `${file} cannot be used: mend ${what} first`, { problems });
}
