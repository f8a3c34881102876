import type { Command } from 'commander';
import { type Client, type ClientOptions, gatewayCommand } from './client.ts';
import { CliError } from './command.ts';
import { exitCodes } from './exit-codes.ts';
import { printable, printJson } from './output.ts';
import { type AskedDeployment, readStack } from './stack.ts';

interface StackOptions extends ClientOptions {
  readonly file: string;
  readonly filter?: string;
}

/** `deploy`, `remove` and `scale`: what changes the functions of a gateway. */
export function registerDeploy(program: Command): void {
  const deploy = program
    .command('deploy')
    .description('deploy the functions of a stack file of OpenFaaS')
    .option('-f, --file <stack>', 'the stack file', 'stack.yaml')
    .option('--filter <text>', 'only functions with this in their name');
  gatewayCommand(deploy, async (client, { file, filter = '', json }: StackOptions) => {
    const functions = (await readStack(file, process.env)).filter(({ service }) => service.includes(filter));
    if (functions.length === 0) throw new CliError(exitCodes.usage, `${file}: no function to deploy`);
    const deployed: { readonly function: string; readonly created: boolean }[] = [];
    for (const one of functions) {
      const created = await deployOne(client, one);
      deployed.push({ function: nameOf(one), created });
      if (!json) console.log(`${printable(nameOf(one))}: ${created ? 'deployed' : 'deployed anew'}`);
    }
    if (json) printJson(deployed);
  });

  const remove = program
    .command('remove')
    .description('remove functions that were deployed so')
    .argument('<function...>', 'NAME or NAME.NAMESPACE');
  gatewayCommand(remove, async (client, { json }: ClientOptions, names: readonly string[]) => {
    for (const name of names) {
      await client.ok('DELETE', '/system/functions', jsonOf({ functionName: name }));
      if (!json) console.log(`${printable(name)}: removed; what is queued for it stays`);
    }
    if (json) printJson({ removed: names });
  });

  const scale = program
    .command('scale')
    .description('ask for so many replicas of a function')
    .argument('<function>')
    .argument('<replicas>');
  gatewayCommand(scale, async (client, { json }: ClientOptions, name: string, replicas: string) => {
    if (!/^\d{1,4}$/.test(replicas))
      throw new CliError(exitCodes.usage, `replicas: expected a whole number, got ${replicas}`);
    const asked = jsonOf({ serviceName: name, replicas: Number(replicas) });
    await client.ok('POST', `/system/scale-function/${encodeURIComponent(name)}`, asked);
    if (json) printJson({ function: name, replicas: Number(replicas) });
    else console.log(`${printable(name)}: asked for ${replicas}`);
  });
}

/** PUT, and where there is none of that name POST: as faas-cli does. Returns whether it was new. */
async function deployOne(client: Client, asked: AskedDeployment): Promise<boolean> {
  const answer = await client.send('PUT', '/system/functions', jsonOf(asked));
  if (answer.status === 404) {
    await answer.body.dump();
    await client.ok('POST', '/system/functions', jsonOf(asked));
    return true;
  }
  if (answer.status >= 300) throw await client.failure(answer);
  return false;
}

export function jsonOf(data: unknown): { readonly body: string; readonly headers: Readonly<Record<string, string>> } {
  return { body: JSON.stringify(data), headers: { 'content-type': 'application/json' } };
}

function nameOf({ service, namespace }: AskedDeployment): string {
  return namespace === '' ? service : `${service}.${namespace}`;
}
