import type { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { messageOf } from '../contracts/errors.ts';
import { type ClientOptions, gatewayCommand } from './client.ts';
import { CliError } from './command.ts';
import { jsonOf } from './deploy.ts';
import { exitCodes } from './exit-codes.ts';
import { printable, printJson, table } from './output.ts';

interface SecretOptions extends ClientOptions {
  readonly namespace?: string;
  readonly fromFile?: string;
}

interface SecretView {
  readonly name: string;
  readonly namespace: string;
}

/** Secrets of functions. A value comes from a file or from standard input: others see arguments. */
export function registerSecrets(program: Command): void {
  const group = program.command('secrets').description('list the secrets of functions, never what they hold');
  group.option('--namespace <name>', 'other than the standard one');
  gatewayCommand(group, async (client, { namespace, json }: SecretOptions) => {
    const secrets = await client.json<SecretView[]>('GET', '/system/secrets', { query: { namespace } });
    if (json) return printJson(secrets);
    if (secrets.length === 0) return console.log('no secrets yet');
    console.log(
      table(
        ['secret', 'namespace'],
        secrets.map((one) => [printable(one.name), printable(one.namespace)]),
      ),
    );
  });
  for (const [action, method, description] of [
    ['create', 'POST', 'keep a secret'],
    ['update', 'PUT', 'give a secret another value'],
  ] as const) {
    const command = group
      .command(action)
      .description(`${description}; the value from --from-file, or from standard input`)
      .argument('<name>')
      .option('--from-file <file>', 'holds the value, which is taken as it is');
    gatewayCommand(command, async (client, { namespace = '', fromFile, json }: SecretOptions, name: string) => {
      const rawValue = (await valueFrom(fromFile)).toString('base64');
      await client.ok(method, '/system/secrets', jsonOf({ name, namespace, rawValue }));
      if (json) printJson({ name, namespace, action });
      else console.log(`${printable(name)}: ${action}d`);
    });
  }
  const remove = group.command('remove').description('remove a secret').argument('<name>');
  gatewayCommand(remove, async (client, { namespace = '', json }: SecretOptions, name: string) => {
    await client.ok('DELETE', '/system/secrets', jsonOf({ name, namespace }));
    if (json) printJson({ name, namespace, action: 'remove' });
    else console.log(`${printable(name)}: removed`);
  });
}

async function valueFrom(file: string | undefined): Promise<Buffer> {
  try {
    if (file !== undefined) return await readFile(file);
  } catch (error) {
    throw new CliError(exitCodes.usage, `--from-file: ${messageOf(error)}`);
  }
  // What a person or `echo` ends the line with is no part of it.
  return Buffer.from((await buffer(process.stdin)).toString('latin1').replace(/\r?\n$/, ''), 'latin1');
}
