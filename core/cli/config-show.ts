import type { Command } from 'commander';
import { shownConfig } from '../config/redact.ts';
import { acting } from './command.ts';
import { configuration } from './configuration.ts';
import { type CliContext, standardConfig } from './context.ts';
import { printJson } from './output.ts';

export function registerConfigShow(program: Command, context: CliContext): void {
  const show = program
    .command('config')
    .description('look at a configuration')
    .command('show')
    .description('print it as it is understood, defaults and environment included, without its secrets')
    .argument('[file]', 'the configuration', standardConfig)
    .option('--json', 'print JSON only: what is wrong, too');
  acting(show, async ({ json }: { json?: boolean }, file: string) => {
    printJson(shownConfig(await configuration(file, context, { json })));
  });
}
