import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lineOf } from '../../core/cli/dev-prompt.ts';
import { within } from '../../core/contracts/clock.ts';
import { shortLine } from '../../core/observe/pretty.ts';
import { atTerminal, type Terminal } from '../support/terminal.ts';

const root = join(import.meta.dirname, '../..');
const main = `"${process.execPath}" "${join(root, 'core/main.ts')}"`;
const env = { NO_COLOR: '1', NODE_COMPILE_CACHE: join(root, '.compile-cache') };

const configuration = (functions: string): string => `
gateway: { listen: { port: 0 }, management: { port: 0 }, reload: { watch: false, debounce: 50ms } }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
functions:
  hello: { module: ./hello.ts, invoke: { timeout: 20s } }
${functions}`;
const module = (greeting: string): string =>
  `export default async (event) => { console.log('it runs'); return '${greeting}, ' + event.text() + '!'; };\n`;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-dev-'));
  await writeFile(join(folder, 'millrace.yaml'), configuration(''));
  await writeFile(join(folder, 'hello.ts'), module('Hello'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** The same line again until the pattern comes: what was saved is taken up a moment later. */
async function until(terminal: Terminal, line: string, pattern: RegExp): Promise<void> {
  const seen = terminal.seen(pattern);
  do terminal.write(line);
  while (!(await within(seen, 300)));
}

describe('millrace dev', { timeout: 60_000 }, () => {
  it('calls functions from its prompt, takes up what is saved, and ends as serve does', async () => {
    await using terminal = atTerminal(`${main} dev millrace.yaml`, folder, env);
    await terminal.seen(/INFO {2}ready .*url=http/);
    await terminal.seen(/> /);
    terminal.write('hello Ada\r');
    await terminal.seen(/function log function=hello\.openfaas-fn .*text=it runs/);
    await terminal.seen(/200 text\/plain.* ms/);
    await terminal.seen(/Hello, Ada!/);
    await writeFile(join(folder, 'body'), 'Grace');
    terminal.write('async hello @body\r');
    await terminal.seen(/accepted as [0-9A-Z]{26}/);
    await terminal.seen(/Hello, Grace!/);
    terminal.write('helo\r');
    await terminal.seen(/did you mean "hello"\?/);
    terminal.write('hello @nothing\r');
    await terminal.seen(/ENOENT/);
    await writeFile(join(folder, 'hello.ts'), module('Good morning'));
    await until(terminal, 'hello Ada\r', /Good morning, Ada!/);
    await writeFile(join(folder, 'millrace.yaml'), configuration('  again: { module: ./hello.ts }\n'));
    await until(terminal, 'again Bob\r', /Good morning, Bob!/);
    terminal.write('functions\r');
    await terminal.seen(/again\.openfaas-fn\s+hello\.openfaas-fn/);
    terminal.write('\u0003');
    await terminal.seen(/stopping signal=SIGINT/);
    expect(await terminal.ended).toBe(0);
  });

  it('ends by quit', async () => {
    await using terminal = atTerminal(`${main} dev millrace.yaml`, folder, env);
    await terminal.seen(/> /);
    terminal.write('quit\r');
    expect(await terminal.ended).toBe(0);
  });

  it('without a keyboard only serves, with lines for people', async () => {
    const child = spawn(process.execPath, [join(root, 'core/main.ts'), 'dev', 'millrace.yaml'], {
      cwd: folder,
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'close');
    let output = '';
    for await (const chunk of child.stdout) {
      output += String(chunk);
      if (output.includes('listens on')) child.kill('SIGTERM');
    }
    expect((await ended)[0]).toBe(0);
    expect(output).toMatch(
      /^[\d:.]+ INFO {2}ready version=.*\nmillrace \S+ listens on http:\S+\n[\d:.]+ INFO {2}stopping signal=SIGTERM\n/m,
    );
  });
});

describe('a line of the prompt', () => {
  it('is a call, a queued one, or one of a few words', () => {
    expect(lineOf('  ')).toEqual({ kind: 'nothing' });
    expect(lineOf(' help ')).toEqual({ kind: 'help' });
    expect(lineOf('quit')).toEqual({ kind: 'quit' });
    expect(lineOf('echo/a?b=c {"a": 1}  ')).toEqual({
      kind: 'call',
      queued: false,
      target: 'echo/a?b=c',
      body: '{"a": 1}',
    });
    expect(lineOf('async resize  @a b.png')).toEqual({
      kind: 'call',
      queued: true,
      target: 'resize',
      body: '@a b.png',
    });
    expect(lineOf('async')).toEqual({ kind: 'help' });
    expect(lineOf('quit.fn')).toMatchObject({ kind: 'call', target: 'quit.fn', body: '' });
  });
});

describe('a short line of the log', () => {
  const at = '2026-11-28T21:00:01.234Z';
  it('is one line, but for a stack', () => {
    const entry = { level: 30, time: at, url: 'http://x', n: 3, deep: { a: [1] }, msg: 'ready' };
    expect(shortLine(`${JSON.stringify(entry)}\n`, false)).toBe(
      '21:00:01.234 INFO  ready url=http://x n=3 deep={"a":[1]}\n',
    );
    const err = { stack: 'Error: boom\n    at a (b:1:2)' };
    const lines = shortLine(`${JSON.stringify({ level: 50, time: at, err, msg: 'failed' })}\n`, false).split('\n');
    expect(lines.map((line) => line.trim())).toEqual(['21:00:01.234 ERROR failed', 'Error: boom', 'at a (b:1:2)', '']);
  });
  it('lets nobody write over it, and leaves alone what is no entry', () => {
    const evil = '\u001B[2Jgone\r\n\u009B1m';
    const text = shortLine(`${JSON.stringify({ level: 30, time: at, [evil]: evil, msg: evil })}\n`, false);
    // oxlint-disable-next-line no-control-regex -- what is looked for.
    expect(text.trimEnd()).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(shortLine('{"level":30,[redacted]:1}\n')).toBe('{"level":30,[redacted]:1}\n');
  });
});
