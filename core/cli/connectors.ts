import type { Command } from 'commander';
import { type ClientOptions, gatewayCommand } from './client.ts';
import { colours, printable, printJson, table } from './output.ts';

export interface ConnectorRow {
  readonly name: string;
  readonly kind: string;
  readonly state: string;
  readonly inFlight: number;
  readonly credit: number;
  readonly lag?: number;
  readonly settled: number;
  readonly reconnects: number;
  readonly lastError?: string;
}

interface TriggeredRow {
  readonly id: string;
  readonly duplicate: boolean;
  readonly at: string;
}

interface BackfillOptions extends ClientOptions {
  readonly from: string;
  readonly to: string;
}

export function registerConnectors(program: Command): void {
  const group = program.command('connectors').description('list the sources of work and how they fare');
  gatewayCommand(group, async (client, { json }: ClientOptions) => {
    const rows = await client.json<ConnectorRow[]>('GET', '/system/connectors');
    if (json) return printJson(rows);
    console.log(rows.length === 0 ? 'no connectors are configured' : show(rows));
  });
  const trigger = group
    .command('trigger')
    .description('fire a cron connector now, whatever its schedule says')
    .argument('<connector>');
  gatewayCommand(trigger, async (client, { json }: ClientOptions, name: string) => {
    const path = `/system/connectors/${encodeURIComponent(name)}/trigger`;
    tell(await client.json<TriggeredRow[]>('POST', path), json);
  });
  const backfill = group
    .command('backfill')
    .description('fire a cron connector for each of its slots in a time that has passed')
    .argument('<connector>')
    .requiredOption('--from <time>', 'the first slot may be then, such as 2026-11-01T00:00:00Z')
    .requiredOption('--to <time>', 'the last slot may be then');
  gatewayCommand(backfill, async (client, { json, from, to }: BackfillOptions, name: string) => {
    const path = `/system/connectors/${encodeURIComponent(name)}/backfill`;
    tell(await client.json<TriggeredRow[]>('POST', path, { data: { from, to } }), json);
  });
}

function tell(rows: readonly TriggeredRow[], json: boolean | undefined): void {
  if (json) return printJson(rows);
  if (rows.length === 0) return console.log('there is no slot in that time');
  console.log(
    table(
      ['slot', 'invocation', ''],
      rows.map(({ at, id, duplicate }) => [at, id, duplicate ? 'had fired before' : '']),
    ),
  );
}

function show(rows: readonly ConnectorRow[]): string {
  return table(
    ['name', 'kind', 'state', 'in flight', 'credit', 'lag', 'settled', 'reconnects', 'last error'],
    rows.map(({ name, kind, state, inFlight, credit, lag, settled, reconnects, lastError }) => [
      printable(name),
      printable(kind),
      state === 'running' ? colours.green(state) : colours.red(printable(state)),
      inFlight,
      credit,
      lag ?? '-',
      settled,
      reconnects,
      printable(lastError ?? '-'),
    ]),
  );
}
