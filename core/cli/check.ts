import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { type CliContext, standardConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';

export function registerCheck(program: Command, { registry, defaults }: CliContext): void {
  program
    .command('check')
    .description('check a configuration; exit 2 and list every problem if there is one')
    .argument('[file]', 'the configuration', standardConfig)
    .option('--json', 'problems as JSON')
    .action(async (file: string, { json }: { json?: boolean }) => {
      const { config, problems } = await loadConfig(file, registry, defaults);
      if (json) console.log(JSON.stringify({ valid: config !== undefined, problems }, undefined, 2));
      else for (const { text } of problems) console.error(text);
      if (!json && config)
        console.log(`${file}: ok, ${config.functions.size} functions, ${config.connectors.size} connectors`);
      process.exitCode = config ? exitCodes.ok : exitCodes.usage;
    });
}
