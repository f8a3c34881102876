import type { Command } from 'commander';
import { type Client, type ClientOptions, gatewayCommand } from './client.ts';
import { colours, count, printable, printJson, table } from './output.ts';

export interface FunctionView {
  readonly name: string;
  readonly namespace: string;
  readonly state: string;
  readonly provider: string;
  readonly queue: string;
  readonly replicas: number;
  readonly availableReplicas: number;
  readonly invocationCount: number;
  readonly image: string;
  readonly message?: string;
}

export function registerFunctions(program: Command): void {
  const command = program.command('functions').description('list the deployed functions');
  gatewayCommand(command, async (client, { json }: ClientOptions) => {
    const functions = await client.json<FunctionView[]>('GET', '/system/functions');
    if (json) return printJson(functions);
    if (functions.length === 0) {
      console.log('no functions yet: add one under `functions:` of the configuration, or see `millrace deploy --help`');
      return;
    }
    const rows = functions.map((view) => [
      printable(`${view.name}.${view.namespace}`),
      view.state === 'ready' ? colours.green('ready') : colours.yellow(printable(view.state)),
      `${view.availableReplicas}/${view.replicas}`,
      count(view.invocationCount),
      view.queue,
      view.provider,
      printable(view.message ?? view.image, 60),
    ]);
    console.log(table(['function', 'state', 'replicas', 'calls', 'queue', 'provider', 'module'], rows));
  });
}

/** `name.namespace` of each that is deployed. */
export async function functionNames(client: Client, asked: { readonly signal?: AbortSignal } = {}): Promise<string[]> {
  const functions = await client.json<FunctionView[]>('GET', '/system/functions', asked);
  return functions.map(({ name, namespace }) => `${name}.${namespace}`);
}
