import type { Command } from 'commander';
import { jsonSchema } from '../config/reference.ts';
import type { CliContext } from './context.ts';
import { printJson } from './output.ts';

export function registerSchema(program: Command, { registry }: CliContext): void {
  program
    .command('schema')
    .description('print the JSON Schema of the configuration, for editors')
    .action(async () => {
      printJson(jsonSchema(await registry.all()));
    });
}
