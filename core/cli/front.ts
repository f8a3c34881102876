import type { Command } from 'commander';
import { runFront } from '../fronts/front.ts';
import type { CliContext } from './context.ts';

/** Not for people: the gateway starts it where `gateway.processes` asks for more than one. */
export function registerFront(program: Command, { registry }: CliContext): void {
  program.command('front', { hidden: true }).action(async () => {
    process.exitCode = await runFront(registry);
  });
}
