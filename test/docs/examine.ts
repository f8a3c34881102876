import { execFile } from 'node:child_process';
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { parse, parseAllDocuments, parseDocument, stringify } from 'yaml';
import { sleep } from '../../core/contracts/clock.ts';
import { loadConfig } from '../../core/config/load.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { builtIns } from '../support/gateway.ts';
import { type Block, blocksOf, type Page } from './page.ts';
import { parts } from './parts.ts';
import { isAsShown, type Ran, Shell } from './shell.ts';

const root = join(import.meta.dirname, '../..');

/** As main has it. */
const defaults = {
  queues: { default: { kind: 'sqlite', path: 'data/queue.db' } },
  stores: { default: { kind: 'sqlite', path: 'data/store.db' } },
  providers: { worker: { kind: 'worker' } },
  connectors: { http: { kind: 'http' } },
};

/** A folder whose `node_modules` are those of somebody who has installed Millrace. */
export function readersFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-docs-'));
  const installed = join(folder, 'node_modules/millrace');
  mkdirSync(installed, { recursive: true });
  const entries = Object.fromEntries(
    Object.entries(packageJson.exports).map(([name, file]) => [name, file.replace('/dist/', '/').replace(/js$/, 'ts')]),
  );
  writeFileSync(
    join(installed, 'package.json'),
    JSON.stringify({ name: 'millrace', type: 'module', exports: entries }),
  );
  for (const part of ['core', 'plugins']) symlinkSync(join(root, part), join(installed, part));
  for (const name of ['zod', 'rxjs', 'vitest', '@types'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  symlinkSync(root, join(folder, 'millrace')); // His checkout: the folder is his home as well.
  return folder;
}

/** Does what the page tells a reader to do, in that folder; resolves with what does not work, by line. */
export async function examine(
  page: Page,
  folder: string,
  { places = {}, signal }: { readonly places?: Readonly<Record<string, string>>; readonly signal: AbortSignal },
): Promise<readonly string[]> {
  const { blocks, problems } = blocksOf(page);
  if (problems.length > 0) return problems;
  const found: string[] = [];
  await using shell = new Shell(folder, places, signal);
  for (const [index, block] of blocks.entries()) {
    const next = blocks[index + 1];
    const shown = next?.language === 'text' && next.word === 'output' ? next.text : undefined;
    if (shown !== undefined && (block.language !== 'sh' || block.word === 'not-run'))
      found.push(`${next?.line}: is the output of nothing that is run`);
    const problem = await problemOf(block, { page, folder, shell, shown });
    if (problem === undefined) continue;
    found.push(`${block.line}: ${problem}`);
    if (block.language === 'sh') break; // What follows stands on it.
  }
  return found;
}

interface Setting {
  readonly page: Page;
  readonly folder: string;
  readonly shell: Shell;
  /** What the page says that the block writes. */
  readonly shown: string | undefined;
}

async function problemOf(block: Block, setting: Setting): Promise<string | undefined> {
  const { folder } = setting;
  if (block.language === 'yaml') return problemOfYaml(block, setting);
  if (block.language === 'sh') return problemOfShell(block, setting);
  if (block.word === 'file') write(folder, block.argument, block.text);
  else if (block.language === 'ts') write(folder, `block-${block.line}.ts`, block.text);
  return undefined;
}

function write(folder: string, name: string, text: string): string {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

async function problemOfYaml({ line, word, argument, text }: Block, setting: Setting): Promise<string | undefined> {
  const { folder, page, shell } = setting;
  if (word === 'of') return parseAllDocuments(text).flatMap(({ errors }) => errors)[0]?.message;
  if (word === 'file' && !isConfiguration(argument)) {
    write(folder, argument, text);
    return undefined; // Whoever reads it says what is wrong.
  }
  const whole = word === 'part' ? stringify(merged(parse(parts[page.path] ?? '{}'), parse(text))) : text;
  const checked = join(word === 'file' ? dirname(argument) : '.', `block-${line}.yaml`);
  const { problems } = await loadConfig(write(folder, checked, withSecrets(whole, folder)), builtIns(), defaults, {});
  // In one step: a gateway that runs on it takes up each of them.
  if (word === 'file') write(folder, argument, onFreePorts(shell.here(text)));
  const errors = problems.filter(({ severity }) => severity === 'error');
  return errors.length === 0 ? undefined : errors.map((one) => one.text).join('\n');
}

function isConfiguration(name: string): boolean {
  return /(?:^|\/)millrace[\w-]*\.yaml$/.test(name);
}

/** With files for the secrets that its reader has. */
function withSecrets(yaml: string, folder: string): string {
  const secrets = ['basic-auth-user', 'basic-auth-password'];
  const text = yaml.replaceAll(/\$\{file:([^}]+)\}/g, (_all, path: string) => {
    secrets.push(basename(path));
    return `\${file:${join(folder, 'secrets', basename(path))}}`;
  });
  for (const name of secrets) write(folder, `secrets/${name}`, 'for-a-test');
  return text.replaceAll('/run/secrets', join(folder, 'secrets'));
}

/** 8080 may be taken here. What else the configuration says stays as it stands. */
function onFreePorts(yaml: string): string {
  const document = parseDocument(yaml);
  for (const listener of ['listen', 'management']) document.setIn(['gateway', listener, 'port'], 0);
  return document.toString();
}

function merged(base: unknown, over: unknown): unknown {
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(base) || !isObject(over)) return over;
  const both = Object.entries(over).map(([key, value]) => [key, merged(base[key], value)]);
  return { ...base, ...(Object.fromEntries(both) as object) };
}

async function problemOfShell(block: Block, { folder, shell, shown }: Setting): Promise<string | undefined> {
  if (block.word === 'not-run') return undefined;
  if (block.word === 'gateway') {
    cpSync(join(root, dirname(block.argument)), join(folder, dirname(block.argument)), { recursive: true });
    write(folder, block.argument, onFreePorts(readFileSync(join(root, block.argument), 'utf8')));
    const started = await shell.serve(`node ${root}/core/main.ts serve --config ${block.argument}\n`);
    if (started.code !== 0) return started.output;
  }
  if (block.word === 'stopped') await shell.stop();
  const ran = await (block.word === 'serve' ? shell.serve(block.text) : runUntil(block, shell, shown));
  if (ran.code !== 0) return `ended with ${ran.code}: ${ran.output}`;
  if (shown === undefined || isAsShown(ran.output, shown)) return undefined;
  return `wrote something else than the page says:\n${ran.output}`;
}

/** How long a page may wait for what it says comes in a moment. */
const patienceMs = 30_000;

async function runUntil(block: Block, shell: Shell, shown: string | undefined): Promise<Ran> {
  const givesUpAt = performance.now() + patienceMs;
  for (;;) {
    const ran = await shell.run(block.text);
    const isDone = ran.code === 0 && (shown === undefined || isAsShown(ran.output, shown));
    if (isDone || block.word !== 'eventually' || performance.now() > givesUpAt) return ran;
    await sleep(100);
  }
}

/** What the compiler says of the TypeScript in these folders, by file and line. */
export async function typeErrorsIn(folders: readonly string[]): Promise<string> {
  const project = mkdtempSync(join(tmpdir(), 'millrace-docs-types-'));
  const configuration = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { types: ['node'], typeRoots: [join(root, 'node_modules/@types')], declaration: false },
    files: folders.flatMap((folder) => globSync('{*,*/*}.ts', { cwd: folder }).map((file) => join(folder, file))),
    include: [],
  };
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(configuration));
  try {
    await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-p', project]);
    return '';
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}
