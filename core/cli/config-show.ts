import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { shownConfig } from '../config/redact.ts';
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
      console.log(JSON.stringify(shownConfig(loaded), undefined, 2));
    });
}
