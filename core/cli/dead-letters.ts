import { type Command, Option } from 'commander';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { deadReason } from '../api/schemas.ts';
import { messageOf } from '../contracts/errors.ts';
import { type Client, type ClientOptions, gatewayCommand } from './client.ts';
import { CliError } from './command.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { parseHeader } from './invoke.ts';
import { colours, printable, printJson, table } from './output.ts';
import { replayByFilter, replayEach } from './replay.ts';

interface Filter {
  readonly function?: string;
  readonly reason?: string;
}

interface LetterView {
  readonly id: string;
  readonly function: string;
  readonly queue: string;
  readonly reason: string;
  readonly attempt: number;
  readonly diedAt: string;
  readonly acceptedAt: string;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly bodyBytes: number;
  readonly errors: readonly { attempt: number; at: string; code: string; message: string; status?: number }[];
  readonly replayOf?: string;
}

interface ReplayOptions extends ClientOptions, Filter {
  readonly all?: boolean;
  readonly limit?: string;
  readonly to?: string;
  readonly header?: readonly string[];
  readonly bodyFile?: string;
}

const previewBytes = 2048;
const root = '/system/dead-letters';

export function registerDeadLetters(program: Command): void {
  const group = program.command('dead-letters').description('look at what failed for good, run it again or delete it');
  const listing = withFilter(group.command('list').description('newest first'))
    .option('--limit <count>', 'at most so many', '50')
    .option('--cursor <cursor>', 'the next page, as the last one named it');
  gatewayCommand(listing, list);

  const showing = group
    .command('show')
    .description('one dead letter: every error, headers and the body')
    .argument('<id>')
    .option('--body', 'only the bytes of the body');
  gatewayCommand(showing, show);

  const replaying = withFilter(
    group
      .command('replay')
      .description('run dead letters again: those named, or all that match')
      .argument('[id...]', 'which ones')
      .option('--all', 'without a filter: every dead letter')
      .option('--limit <count>', 'with a filter: the oldest so many')
      .option('--to <function>', 'another function')
      .option('-H, --header <header...>', 'set a header first: "Name: value"; "Name:" removes it')
      .option('--body-file <file>', 'another body'),
  );
  gatewayCommand(replaying, replay);

  const purging = withFilter(group.command('purge').description('delete dead letters for ever'))
    .argument('[id...]', 'which ones')
    .option('--all', 'without a filter: every dead letter')
    .option('-y, --yes', 'do not ask');
  gatewayCommand(purging, purge);
}

function withFilter(command: Command): Command {
  return command
    .option('--function <function>', 'only of this function')
    .addOption(new Option('--reason <reason>', 'only of those that died of it').choices(deadReason.options));
}

async function list(
  client: Client,
  options: ClientOptions & Filter & { limit: string; cursor?: string },
): Promise<void> {
  const { json, limit, cursor, function: name, reason } = options;
  const query = { function: name, reason, limit, cursor };
  const page = await client.json<{ items: LetterView[]; cursor?: string }>('GET', root, { query });
  if (json) return printJson(page);
  if (page.items.length === 0) {
    console.log('no dead letters');
    return;
  }
  const rows = page.items.map((letter) => [
    letter.id,
    printable(letter.function),
    colours.red(letter.reason),
    letter.attempt,
    letter.diedAt,
    printable(letter.errors.at(-1)?.message ?? '', 60),
  ]);
  console.log(table(['id', 'function', 'reason', 'attempts', 'died', 'last error'], rows));
  if (page.cursor !== undefined) console.log(colours.dim(`\nmore: --cursor ${page.cursor}`));
}

async function show(client: Client, { json, body }: ClientOptions & { body?: boolean }, id: string): Promise<void> {
  const path = `${root}/${encodeURIComponent(id)}`;
  if (body) {
    const answer = await client.ok('GET', `${path}/body`);
    for await (const chunk of answer.body)
      if (!process.stdout.write(chunk as Uint8Array)) await once(process.stdout, 'drain');
    return;
  }
  const letter = await client.json<LetterView>('GET', path);
  if (json) return printJson(letter);
  console.log(
    table(
      ['id', letter.id],
      [
        ['function', `${letter.function} on ${letter.queue}`],
        ['reason', `${letter.reason} after ${letter.attempt} attempts`],
        ['accepted', letter.acceptedAt],
        ['died', letter.diedAt],
        ['request', `${letter.method} ${letter.path}${letter.query}`],
        ...(letter.replayOf === undefined ? [] : [['replay of', letter.replayOf]]),
      ].map(([name = '', value = '']) => [colours.dim(name), printable(value)]),
    ),
  );
  console.log(`\n${colours.bold('errors')}`);
  for (const error of letter.errors) {
    const status = error.status === undefined ? '' : ` ${error.status}`;
    console.log(`  ${error.attempt}. ${error.at} ${colours.red(error.code)}${status} ${printable(error.message, 400)}`);
  }
  console.log(`\n${colours.bold('headers')}`);
  for (const [name, value] of Object.entries(letter.headers)) {
    console.log(`  ${colours.dim(printable(name))}: ${printable([value].flat().join(', '), 200)}`);
  }
  console.log(`\n${colours.bold(`body, ${letter.bodyBytes} bytes`)}\n${await preview(client, path, letter.bodyBytes)}`);
}

async function preview(client: Client, path: string, size: number): Promise<string> {
  if (size === 0) return '  (none)';
  const answer = await client.ok('GET', `${path}/body`);
  const chunks: Buffer[] = [];
  let read = 0;
  for await (const chunk of answer.body) {
    chunks.push(chunk as Buffer);
    read += (chunk as Buffer).length;
    if (read >= previewBytes) break;
  }
  const bytes = Buffer.concat(chunks).subarray(0, previewBytes);
  if (bytes.includes(0)) return '  (binary: see --body)';
  const lines = bytes.toString('utf8').split('\n');
  const more = size > previewBytes ? [colours.dim(`… ${size - previewBytes} more bytes: see --body`)] : [];
  return [...lines.map((line) => printable(line, 200)), ...more].map((line) => `  ${line}`).join('\n');
}

async function replay(client: Client, options: ReplayOptions, ids: string[]): Promise<ExitCode> {
  const { all, limit, to, header, bodyFile } = options;
  checkChoice(ids, options, all);
  if (ids.length > 0) {
    const headers = header && Object.fromEntries(header.map(parseHeader).map(([name, value]) => [name, value || null]));
    const bodyBase64 = bodyFile === undefined ? undefined : await base64Of(bodyFile);
    return replayEach(client, ids, { to, headers, bodyBase64 }, options.json);
  }
  if (header !== undefined || bodyFile !== undefined) {
    throw new CliError(exitCodes.usage, '--header and --body-file change single letters: name their ids');
  }
  if (limit !== undefined && !/^[1-9]\d{0,8}$/.test(limit)) {
    throw new CliError(exitCodes.usage, `--limit: expected a whole number, got ${JSON.stringify(limit)}`);
  }
  const filter = { function: options.function, reason: options.reason, to, ...(all && { all }) };
  return replayByFilter(client, { ...filter, ...(limit !== undefined && { limit: Number(limit) }) }, options.json);
}

async function purge(
  client: Client,
  options: ClientOptions & Filter & { all?: boolean; yes?: boolean },
  ids: string[],
): Promise<ExitCode | void> {
  const { all, yes, json, function: name, reason } = options;
  checkChoice(ids, options, all);
  if (!yes && !(await confirmed('Delete these dead letters for ever?'))) {
    console.error('nothing was deleted');
    return exitCodes.failed;
  }
  let purged = 0;
  if (ids.length === 0) {
    const query = { function: name, reason, all: all ? 'true' : undefined };
    ({ purged } = await client.json<{ purged: number }>('DELETE', root, { query }));
  }
  for (const id of ids) {
    const answer = await client.json<{ purged: number }>('DELETE', `${root}/${encodeURIComponent(id)}`);
    purged += answer.purged;
  }
  if (json) printJson({ purged });
  else console.log(`deleted ${purged}`);
}

function checkChoice(ids: readonly string[], filter: Filter, all: boolean | undefined): void {
  const filtered = filter.function !== undefined || filter.reason !== undefined || all === true;
  if (ids.length > 0 === filtered) {
    throw new CliError(exitCodes.usage, 'say which: ids, or --function and --reason, or --all');
  }
}

async function confirmed(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new CliError(exitCodes.usage, 'nobody is here to be asked: add --yes');
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await lines.question(`${question} [y/N] `);
  lines.close();
  return /^y(es)?$/i.test(answer.trim());
}

async function base64Of(file: string): Promise<string> {
  try {
    return await readFile(file, 'base64');
  } catch (error) {
    throw new CliError(exitCodes.usage, `--body-file: ${messageOf(error)}`);
  }
}
