import type { Command } from 'commander';
import type { PluginDefinition } from '../contracts/definition.ts';
import type { CliContext } from './context.ts';

export function registerPlugins(program: Command, { registry }: CliContext): void {
  program
    .command('plugins')
    .description('list the plugins and what their queues can do')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const definitions = await registry.all();
      const rows = definitions.map(rowOf);
      if (json) {
        console.log(JSON.stringify(rows, undefined, 2));
        return;
      }
      const { default: Table } = await import('cli-table3');
      const table = new Table({ head: ['type', 'kind', 'summary'], wordWrap: true, colWidths: [12, 12, 90] });
      table.push(...rows.map(({ type, kind, summary }) => [type, kind, summary]));
      console.log(table.toString());
      const queues = rows.filter(({ capabilities }) => capabilities);
      const matrix = new Table({ head: ['queue', ...Object.keys(queues[0]?.capabilities ?? {})] });
      matrix.push(...queues.map(({ kind, capabilities }) => [kind, ...Object.values(capabilities ?? {})]));
      console.log(matrix.toString());
    });
}

function rowOf(definition: PluginDefinition) {
  const { type, kind, summary } = definition;
  return { type, kind, summary, capabilities: definition.type === 'queue' ? definition.capabilities : undefined };
}
