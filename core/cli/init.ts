import { type Command, Option } from 'commander';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { dnsLabel } from '../config/units.ts';
import { acting, CliError } from './command.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { type Choice, type Language, languages, projectFiles } from './init-files.ts';
import { colours, printJson } from './output.ts';

type InitOptions = Partial<Choice> & { readonly yes?: boolean; readonly json?: boolean };

export function registerInit(program: Command, context: CliContext): void {
  const { registry, defaults } = context;
  const triggers = registry.kinds('connector');
  const queues = registry.kinds('queue');
  // What a configuration has that says nothing about it.
  const [trigger = triggers[0]] = Object.values(defaults.connectors).map(({ kind }) => kind);
  const [queue = queues[0]] = Object.values(defaults.queues).map(({ kind }) => kind);
  const command = program
    .command('init')
    .description('begin a project: a configuration, a function and its tests; nothing that is there is overwritten')
    .argument('[folder]', 'where', '.')
    .option('--name <name>', 'of the function; hello unless it is said')
    .addOption(new Option('--trigger <kind>', `what runs it; ${trigger} unless it is said`).choices(triggers))
    .addOption(new Option('--queue <kind>', `where queued work waits; ${queue} unless it is said`).choices(queues))
    .addOption(new Option('--language <language>', 'of the function; ts unless it is said').choices(languages))
    .option('-y, --yes', 'do not ask for what is not said')
    .option('--json', 'print JSON only; asks nothing');
  acting(command, async ({ yes, json, ...said }: InitOptions, folder: string) => {
    const standard: Choice = { name: 'hello', trigger: trigger ?? '', queue: queue ?? '', language: 'ts', ...said };
    const asks = process.stdin.isTTY && process.stderr.isTTY && !yes && !json;
    const choice = asks ? await asked(said, standard, { triggers, queues }) : standard;
    checkName(choice.name);
    const files = await projectFiles(choice, basename(resolve(folder)), context);
    await write(folder, files);
    const written = Object.keys(files);
    if (json) printJson({ folder, files: written });
    else
      console.log(
        `${written.map((file) => `${colours.green('wrote')} ${join(folder, file)}`).join('\n')}\n${next(folder, choice)}`,
      );
  });
}

interface Kinds {
  readonly triggers: readonly string[];
  readonly queues: readonly string[];
}

/** Asks on standard error for what was not said; an empty answer is the standard one. */
async function asked(said: Partial<Choice>, standard: Choice, { triggers, queues }: Kinds): Promise<Choice> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  // Unlike `question` it keeps what was typed, or pasted, before it was asked for.
  const answers = lines[Symbol.asyncIterator]();
  const ask = async <Word extends string>(question: string, usual: Word, words?: readonly Word[]): Promise<Word> => {
    for (;;) {
      lines.setPrompt(`${question}${words ? ` (${words.join(', ')})` : ''} [${usual}] `);
      lines.prompt();
      const { done, value } = await answers.next();
      if (done) throw new CliError(exitCodes.failed, 'nothing was written');
      const answer = value.trim() || usual;
      if (!words || words.includes(answer as Word)) return answer as Word;
      console.error(`expected one of: ${words.join(', ')}`);
    }
  };
  try {
    return {
      name: said.name ?? (await ask('name of the function', standard.name)),
      trigger: said.trigger ?? (await ask('what runs it', standard.trigger, triggers)),
      queue: said.queue ?? (await ask('where queued work waits', standard.queue, queues)),
      language: said.language ?? (await ask<Language>('language', standard.language, languages)),
    };
  } finally {
    lines.close();
  }
}

function checkName(name: string): void {
  if (dnsLabel.safeParse(name).success) return;
  throw new CliError(
    exitCodes.usage,
    `--name: expected lower-case letters, digits and "-", such as "resize", got ${JSON.stringify(name)}`,
  );
}

/** All of the files or none: what is there stays as it is. */
async function write(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const file of Object.keys(files)) {
    const path = join(folder, file);
    if (await exists(path)) {
      throw new CliError(
        exitCodes.usage,
        `${path} is there already, and nothing was written: name another folder, or move it away`,
      );
    }
  }
  for (const [file, text] of Object.entries(files)) {
    const path = join(folder, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text, { flag: 'wx' });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

function next(folder: string, { name }: Choice): string {
  const there = relative('', folder);
  return `
what now:
${there === '' ? '' : `  cd ${there}\n`}  npm install
  npm test               # the configuration, its tests, and the function's own
  npm run dev            # then: ${name} Ada
`;
}
