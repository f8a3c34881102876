import { Argument, type Command } from 'commander';
import { type Client, type ClientOptions, gatewayCommand } from './client.ts';
import { CliError } from './command.ts';
import { scriptOf, type Shell, shells } from './completion-script.ts';
import { completionsOf } from './completions.ts';
import type { ConnectorRow } from './connectors.ts';
import type { TreeContext } from './context.ts';
import { functionNames } from './functions.ts';
import { printJson } from './output.ts';

/** Somebody has pressed a key and waits for the shell. */
const patienceMs = 300;

const howTo = `
Where it goes:
  bash  millrace completion bash > ~/.local/share/bash-completion/completions/millrace
  zsh   millrace completion zsh > ~/.zfunc/_millrace     # with fpath=(~/.zfunc $fpath) before compinit
  fish  millrace completion fish > ~/.config/fish/completions/millrace.fish
Names of functions and connectors come from the gateway that MILLRACE_URL names, if it answers within ${patienceMs} ms.
`;

export function registerCompletion(program: Command, { tree }: TreeContext): void {
  program
    .command('completion')
    .description('print what makes a shell complete commands, options and names')
    .addArgument(new Argument('<shell>').choices(shells))
    .addHelpText('after', howTo)
    .action(async (shell: Shell) => {
      process.stdout.write(scriptOf(shell, completionsOf(await tree())));
    });

  const names = program
    .command('names', { hidden: true })
    .description(
      'for the completion of shells: names that the gateway knows, one a line; nothing if it does not answer',
    )
    .addArgument(new Argument('<of>').choices(['functions', 'connectors']));
  gatewayCommand(names, async (client, { json }: ClientOptions, of: 'functions' | 'connectors') => {
    const found = await (of === 'functions' ? functionNames(client, patience()) : connectorNames(client)).catch(
      (error: unknown) => {
        // Words in the middle of a line that is being typed would help nobody.
        if (error instanceof CliError) return [];
        throw error;
      },
    );
    // The shell expands what it is given: `$(…)` of a gateway that means harm would be run.
    const harmless = found.filter((name) => /^[\w.-]+$/.test(name));
    if (json) printJson(harmless);
    else if (harmless.length > 0) console.log(harmless.join('\n'));
  });
}

async function connectorNames(client: Client): Promise<string[]> {
  const rows = await client.json<ConnectorRow[]>('GET', '/system/connectors', patience());
  return rows.map(({ name }) => name);
}

function patience(): { readonly signal: AbortSignal } {
  return { signal: AbortSignal.timeout(patienceMs) };
}
