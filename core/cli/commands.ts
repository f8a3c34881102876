import { Command } from 'commander';
import type { CliContext, TreeContext } from './context.ts';

type Register = (program: Command, context: TreeContext) => void;

interface CommandFile {
  /** The words that it takes, as they come first on the command line. */
  readonly words: readonly string[];
  readonly load: () => Promise<Register>;
}

/** The commands in the order of the help. */
const files: readonly CommandFile[] = [
  { words: ['init'], load: async () => (await import('./init.ts')).registerInit },
  { words: ['dev'], load: async () => (await import('./dev.ts')).registerDev },
  { words: ['serve'], load: async () => (await import('./serve.ts')).registerServe },
  { words: ['front'], load: async () => (await import('./front.ts')).registerFront },
  { words: ['check'], load: async () => (await import('./check.ts')).registerCheck },
  { words: ['test'], load: async () => (await import('./test.ts')).registerTest },
  { words: ['plan'], load: async () => (await import('./plan.ts')).registerPlan },
  { words: ['schema'], load: async () => (await import('./schema.ts')).registerSchema },
  { words: ['plugins'], load: async () => (await import('./plugins.ts')).registerPlugins },
  { words: ['token'], load: async () => (await import('./token.ts')).registerToken },
  { words: ['config'], load: async () => (await import('./config-show.ts')).registerConfigShow },
  { words: ['generate'], load: async () => (await import('./generate.ts')).registerGenerate },
  { words: ['top'], load: async () => (await import('./top.ts')).registerTop },
  { words: ['functions'], load: async () => (await import('./functions.ts')).registerFunctions },
  { words: ['deploy', 'remove', 'scale'], load: async () => (await import('./deploy.ts')).registerDeploy },
  { words: ['secrets'], load: async () => (await import('./secrets.ts')).registerSecrets },
  { words: ['logs'], load: async () => (await import('./logs.ts')).registerLogs },
  { words: ['invoke'], load: async () => (await import('./invoke.ts')).registerInvoke },
  { words: ['invocations'], load: async () => (await import('./invocations.ts')).registerInvocations },
  { words: ['connections'], load: async () => (await import('./connections.ts')).registerConnections },
  { words: ['connectors'], load: async () => (await import('./connectors.ts')).registerConnectors },
  { words: ['queues'], load: async () => (await import('./queues.ts')).registerQueues },
  { words: ['dead-letters'], load: async () => (await import('./dead-letters.ts')).registerDeadLetters },
  { words: ['completion', 'names'], load: async () => (await import('./completion.ts')).registerCompletion },
];

/**
 * Registers the command that `word` names, so that it starts without the libraries of the others; all of them where it names
 * none, for the help and for what was misspelt.
 */
export async function registerCommands(program: Command, context: CliContext, word: string | undefined): Promise<void> {
  const named = files.filter(({ words }) => word !== undefined && words.includes(word));
  const chosen = named.length > 0 ? named : files;
  const registers = await Promise.all(chosen.map(({ load }) => load()));
  for (const register of registers) register(program, { ...context, tree: () => commandTree(context) });
}

async function commandTree(context: CliContext): Promise<Command> {
  const program = new Command('millrace');
  await registerCommands(program, context, undefined);
  return program;
}
