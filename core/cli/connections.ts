import type { Command } from 'commander';
import { type ClientOptions, gatewayCommand } from './client.ts';
import { colours, printable, printJson, table } from './output.ts';

interface ConnectionRow {
  readonly name: string;
  readonly kind: string;
  readonly state: string;
  readonly reconnects: number;
  readonly lastError?: string;
}

export function registerConnections(program: Command): void {
  const command = program.command('connections').description('list the brokers and whether they can be reached');
  gatewayCommand(command, async (client, { json }: ClientOptions) => {
    const rows = await client.json<ConnectionRow[]>('GET', '/system/connections');
    if (json) return printJson(rows);
    console.log(rows.length === 0 ? 'no connections are configured' : show(rows));
  });
}

function show(rows: readonly ConnectionRow[]): string {
  return table(
    ['name', 'kind', 'state', 'reconnects', 'last error'],
    rows.map(({ name, kind, state, reconnects, lastError }) => [
      printable(name),
      printable(kind),
      state === 'connected' ? colours.green(state) : colours.red(printable(state)),
      reconnects,
      printable(lastError ?? '-'),
    ]),
  );
}
