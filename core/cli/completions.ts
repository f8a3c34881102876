import type { Argument, Command, Option } from 'commander';

/** What a word may be: one of some words, a name that the gateway knows, a file, or anything. */
export type Values =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'functions' | 'connectors' | 'files' };

/** What may follow a command. */
export interface Completions {
  /** The words of the command after the program's own: `queues pause`, or empty. */
  readonly line: string;
  readonly commands: readonly string[];
  readonly options: readonly string[];
  /** Of its first argument. */
  readonly argument: Values | undefined;
  /** Of its options, by each of their spellings. */
  readonly values: readonly { readonly options: readonly string[]; readonly values: Values }[];
}

/** What may follow each command of the tree, the program itself first. */
export function completionsOf(command: Command, line = ''): Completions[] {
  const help = command.createHelp();
  const commands = help.visibleCommands(command);
  const options = help.visibleOptions(command);
  const [argument] = command.registeredArguments;
  const own: Completions = {
    line,
    commands: commands.map((each) => each.name()),
    options: options.flatMap(spellings),
    argument: argument && valuesOf(argument, argument.name()),
    values: options.flatMap((option) => {
      const values = valuesOf(option, /[<[]([\w-]+)/.exec(option.flags)?.[1]);
      return values ? [{ options: spellings(option), values }] : [];
    }),
  };
  // `help` is commander's own, and has no commands.
  const below = command.commands.filter((each) => commands.includes(each));
  return [own, ...below.flatMap((each) => completionsOf(each, `${line} ${each.name()}`.trim()))];
}

const kinds: Readonly<Record<string, 'functions' | 'connectors' | 'files' | undefined>> = {
  function: 'functions',
  connector: 'connectors',
  file: 'files',
  folder: 'files',
  stack: 'files',
  old: 'files',
  new: 'files',
};

function valuesOf({ argChoices }: Argument | Option, name: string | undefined): Values | undefined {
  if (argChoices) return { kind: 'words', words: argChoices };
  const kind = name === undefined ? undefined : kinds[name];
  return kind && { kind };
}

function spellings({ short, long }: Option): string[] {
  return [short, long].filter((spelling) => spelling !== undefined);
}
