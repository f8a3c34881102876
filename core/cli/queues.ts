import type { Command } from 'commander';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, type ClientOptions, gatewayCommand } from './client.ts';
import { age, colours, count, printable, printJson, table } from './output.ts';

export interface QueueRow {
  readonly level: 'gateway' | 'function' | 'provider';
  readonly name: string;
  readonly queue?: string;
  readonly provider?: string;
  readonly ready: number;
  readonly blocked: number;
  readonly delayed: number;
  readonly leased: number;
  readonly dead: number;
  readonly oldestAgeSeconds: number;
  readonly paused: boolean;
  readonly durability: string;
}

interface QueuesOptions extends ClientOptions {
  readonly watch?: boolean;
  readonly all?: boolean;
}

const watchEveryMs = 1000;
const clearScreen = '\u001b[2J\u001b[H';

export function registerQueues(program: Command): void {
  const group = program.command('queues').description('show what waits, at every level');
  group
    .option('--watch', 'again every second, until Ctrl-C')
    .option('--all', 'also waiting rooms and pools with nothing in them');
  gatewayCommand(group, async (client, options: QueuesOptions) => {
    await showOnce(client, options);
    for (;;) {
      if (!options.watch) return;
      await sleep(watchEveryMs);
      await showOnce(client, options);
    }
  });
  for (const [action, description] of [
    ['pause', 'run no more queued work of a function; new work is still accepted'],
    ['resume', 'run queued work of a function again'],
  ] as const) {
    const command = group.command(action).description(description).argument('<function>');
    gatewayCommand(command, (client, options: ClientOptions, name: string) => change(client, options, action, name));
  }
}

async function showOnce(client: Client, { watch, all, json }: QueuesOptions): Promise<void> {
  const rows = await client.json<QueueRow[]>('GET', '/system/queues');
  // One document a line while watching, so that a script can tell them apart.
  if (json) console.log(JSON.stringify(rows, undefined, watch ? undefined : 2));
  else console.log(`${watch && process.stdout.isTTY ? clearScreen : ''}${show(rows, all === true)}`);
}

async function change(
  client: Client,
  { json }: ClientOptions,
  action: 'pause' | 'resume',
  name: string,
): Promise<void> {
  const path = `/system/queues/${encodeURIComponent(name)}/${action}`;
  const changed = await client.json<{ name: string; queues: string[] }>('POST', path);
  if (json) printJson(changed);
  else
    console.log(
      `${action}d: ${printable(changed.name)} on ${changed.queues.map((queue) => printable(queue)).join(', ')}`,
    );
}

function show(rows: readonly QueueRow[], all: boolean): string {
  const shown = rows.filter((row) => all || row.level === 'function' || row.ready + row.leased > 0);
  if (shown.length === 0) return 'nothing waits and nothing runs';
  return table(
    ['level', 'name', 'queue', 'ready', 'blocked', 'delayed', 'running', 'dead', 'oldest', 'durability', ''],
    shown.map((row) => [
      colours.dim(row.level),
      printable(row.name),
      printable(row.queue ?? row.provider ?? '-'),
      count(row.ready),
      count(row.blocked),
      count(row.delayed),
      count(row.leased),
      count(row.dead, true),
      age(row.oldestAgeSeconds),
      row.durability,
      row.paused ? colours.yellow('paused') : '',
    ]),
  );
}
