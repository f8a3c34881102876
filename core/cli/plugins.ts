import type { Command } from 'commander';
import type { PluginDefinition } from '../contracts/definition.ts';
import type { QueueCapabilities } from '../contracts/queue.ts';
import { acting } from './command.ts';
import type { CliContext } from './context.ts';
import { printable, printJson, table } from './output.ts';

export function registerPlugins(program: Command, { registry }: CliContext): void {
  const command = program
    .command('plugins')
    .description('list the plugins and what their queues can do')
    .option('--json', 'print JSON only');
  acting(command, async ({ json }: { json?: boolean }) => {
    const definitions = await registry.all();
    const rows = definitions.map(rowOf);
    if (json) {
      printJson(rows);
      return;
    }
    console.log(
      table(
        ['TYPE', 'KIND', 'FOR'],
        rows.map(({ type, kind, summary }) => [type, kind, printable(summary, 200)]),
      ),
    );
    const queues = rows.filter(({ capabilities }) => capabilities);
    const names = [...new Set(queues.flatMap(({ capabilities }) => Object.keys(capabilities ?? {})))];
    const matrix = queues.map(({ kind, capabilities }) => [
      kind,
      ...names.map((name) => capabilities?.[name as keyof QueueCapabilities] ?? 'none'),
    ]);
    console.log(`\n${table(['QUEUE', ...names.map((name) => name.toUpperCase())], matrix)}`);
  });
}

function rowOf(definition: PluginDefinition) {
  const { type, kind, summary } = definition;
  return { type, kind, summary, capabilities: definition.type === 'queue' ? definition.capabilities : undefined };
}
