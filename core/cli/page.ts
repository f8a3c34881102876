import type { Argument, Command, Option } from 'commander';
import { exitCodeHelp } from './exit-codes.ts';

/** Of every command that talks to a gateway: told once. */
const gatewayOptions = new Set(['--url', '--user', '--password-file', '--token-file']);

/** docs/cli.md: every command, from what the program itself goes by. */
export function cliPage(program: Command): string {
  const commands = leavesOf(program);
  const talking = commands.find(isTalking);
  if (!talking) throw new Error('no command talks to a gateway');
  const common = optionsOf(talking).filter(isCommon);
  return `<!-- Made from the code by \`npm run generate\`. Change the descriptions there. -->

# The command line

\`millrace COMMAND --help\` says the same. In a clone of the repository, \`npm run millrace -- COMMAND\`. \`millrace completion bash\` (\`zsh\`,
\`fish\`) prints what makes the shell complete all of this, names of functions included.

**For scripts.** With \`--json\` standard output is one JSON document, or one a line where a command goes on; what went wrong is one
line of JSON on standard error: \`{"error": {"message", "exitCode"}}\`, with \`code\` and \`status\` where the gateway said so, and
\`problems\` of a configuration. The exit code says which kind of end it was.

| exit code | |
|---|---|
${rowsOf(exitCodeHelp)}

**Options of the commands that talk to a gateway** (marked ⇄ below), beside their own:

${optionTable(common)}

${commands.map(sectionOf).join('\n\n')}
`;
}

/** Commands that do something, each with the groups above it. */
function leavesOf(command: Command): Command[] {
  const visible = command.createHelp().visibleCommands(command);
  return command.commands.flatMap((each) =>
    visible.includes(each) ? [...(isDoing(each) ? [each] : []), ...leavesOf(each)] : [],
  );
}

/** A group may do something by itself. Commander tells in its usage only, and a group that does nothing has no options. */
function isDoing(command: Command): boolean {
  return command.commands.length === 0 || command.options.length > 0;
}

function isTalking(command: Command): boolean {
  return command.options.some(({ long }) => long === '--url');
}

function isCommon({ long }: Option): boolean {
  return gatewayOptions.has(long ?? '');
}

function optionsOf(command: Command): readonly Option[] {
  return command.createHelp().visibleOptions(command);
}

function sectionOf(command: Command): string {
  const words = [nameOf(command), ...command.registeredArguments.map(wordOf)].join(' ');
  const own = optionsOf(command).filter(
    (option) => option.long !== '--help' && !(isTalking(command) && isCommon(option)),
  );
  const described = command.registeredArguments.filter(({ description }) => description !== '');
  const exits = exitCodesOf(command);
  return [
    `## \`millrace ${words}\`${isTalking(command) ? ' ⇄' : ''}`,
    `${capital(command.description())}.`,
    ...(described.length > 0 ? [argumentTable(described)] : []),
    ...(own.length > 0 ? [optionTable(own)] : []),
    ...(exits === '' ? [] : [`| exit code | |\n|---|---|\n${exits}`]),
  ].join('\n\n');
}

function nameOf(command: Command): string {
  const above = command.parent;
  return above?.parent ? `${nameOf(above)} ${command.name()}` : command.name();
}

function wordOf(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

function argumentTable(given: readonly Argument[]): string {
  return table(
    'argument',
    given.map((each) => [each.name(), each.description, each] as const),
  );
}

function optionTable(given: readonly Option[]): string {
  return table(
    'option',
    given.map((each) => [each.flags, each.description, each] as const),
  );
}

function table(
  title: string,
  rows: readonly (readonly [name: string, description: string, about: Argument | Option])[],
): string {
  const lines = rows.map(
    ([name, description, about]) => `| \`${cell(name)}\` | ${cell(`${description}${detailsOf(about)}`)} |`,
  );
  return `| ${title} | |\n|---|---|\n${lines.join('\n')}`;
}

function detailsOf(about: Argument | Option): string {
  const { argChoices, defaultValue } = about;
  const environment = 'envVar' in about ? about.envVar : undefined;
  return [
    argChoices ? `: ${argChoices.map((choice) => `\`${choice}\``).join(', ')}` : '',
    defaultValue === undefined || Array.isArray(defaultValue) ? '' : `; \`${String(defaultValue)}\` unless it is said`,
    environment === undefined ? '' : `; or set \`${environment}\``,
  ].join('');
}

/** What a command says of its own exit codes. */
function exitCodesOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
  return text.includes(exitCodeHelp.trim()) ? '' : rowsOf(text);
}

function rowsOf(help: string): string {
  return [...help.matchAll(/^ {2}(\d) {2}(.+)$/gm)].map(([, code, what]) => `| ${code} | ${what} |`).join('\n');
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
