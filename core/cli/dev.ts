import type { Command } from 'commander';
import { messageOf } from '../contracts/errors.ts';
import { version } from '../version.ts';
import { Client } from './client.ts';
import { acting } from './command.ts';
import { type CliContext, standardConfig } from './context.ts';
import { DevPrompt } from './dev-prompt.ts';
import { serve } from './serve.ts';

const about = `
Changes of the configuration and of the modules of functions are taken up as they are saved. On a terminal there is a prompt
that calls functions: type help there. Credentials for functions that ask for them: as for \`millrace invoke\`, by the environment.
`;

export function registerDev(program: Command, context: CliContext): void {
  const command = program
    .command('dev')
    .description('run the gateway while you write its functions: short log lines, and a prompt to call them')
    .argument('[file]', 'the configuration', standardConfig)
    .addHelpText('after', about);
  acting(command, async (_options: object, file: string) => {
    const { stdin, stdout } = process;
    // Without somebody at the keyboard it only serves.
    const prompt = stdin.isTTY && stdout.isTTY ? new DevPrompt(stdin, stdout, interrupt) : undefined;
    const write = (text: string): void => (prompt ? prompt.write(text) : void stdout.write(text));
    const tell = (error: unknown): void => write(`${messageOf(error)}\n`);
    const code = await serve(file, context, {
      logs: { format: 'short', write },
      watch: true,
      onReady: ({ url }) => {
        write(`millrace ${version} listens on ${url}${prompt ? '; type help, or Ctrl-C to end it' : ''}\n`);
        if (prompt) void Client.of({ url }).then((client) => prompt.start(client), tell);
      },
    });
    prompt?.close();
    return code;
  });
}

/** As Ctrl-C does it where nothing reads keys: once to stop, twice to stop at once. */
function interrupt(): void {
  process.kill(process.pid, 'SIGINT');
}
