import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { redacted } from '../config/redact.ts';
import { type CliContext, standardConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';

export function registerConfigShow(program: Command, { registry, defaults }: CliContext): void {
  const config = program.command('config').description('look at a configuration');
  config
    .command('show')
    .description('print it as it is understood, defaults and environment included, without its secrets')
    .argument('[file]', 'the configuration', standardConfig)
    .action(async (file: string) => {
      const { config: loaded, problems } = await loadConfig(file, registry, defaults);
      for (const { text } of problems) console.error(text);
      if (!loaded) {
        process.exitCode = exitCodes.usage;
        return;
      }
      const { secrets, ...shown } = loaded;
      // A plugin's definition is code, not configuration.
      const text = JSON.stringify(
        redacted(shown, secrets),
        (key, value: unknown) => (key === 'definition' ? undefined : value),
        2,
      );
      console.log(text);
    });
}
